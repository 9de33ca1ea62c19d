"""A group of commands with a command that may be omitted: `replays latest` is `replays list latest`."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

DEFAULT: Final = "list"


class GroupWithDefault(TyperGroup):
    """A first word that is not the name of a command belongs to the command `list`."""

    # The types of click are those of typer's own copy, which it does not export.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_default = not args or args[0] not in (*self.commands, *self.get_help_option_names(ctx))
        # While a shell completes the first word, it may become the name of a command, too.
        if is_default and (args or not ctx.resilient_parsing):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Offer the commands, and what may follow `list`."""
        offers: list[Any] = super().shell_complete(ctx, incomplete)
        listing = self.commands[DEFAULT]
        with listing.make_context(DEFAULT, [], parent=ctx, resilient_parsing=True) as inner:
            if incomplete.startswith("-"):
                return offers + listing.shell_complete(inner, incomplete)
            first = [one for one in listing.params if one.param_type_name == "argument"][:1]
            return offers + [offer for one in first for offer in one.shell_complete(inner, incomplete)]
