"""One job with Playhead and with cocoindex, in turn: `python -m bench.peers`."""
