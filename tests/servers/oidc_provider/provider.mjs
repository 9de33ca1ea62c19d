// An OpenID Connect provider for the tests: node provider.mjs PORT FOLDER_WITH_NODE_MODULES REDIRECT_URI
// Each start makes new keys. A person logs in with a name from `people`, and any password.
import { generateKeyPairSync, randomUUID } from 'node:crypto';

const [port, folder, redirectUri] = process.argv.slice(2);
const { Provider } = await import(`${folder}/node_modules/oidc-provider/lib/index.js`);
const issuer = `http://127.0.0.1:${port}`;
const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
const people = {
  alice: { groups: ['playhead-admins'], email: 'alice@example.com', email_verified: true },
  bob: { groups: ['sre'], email: 'alice@example.com', email_verified: false },
  eve: { groups: [] },
};

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'playhead',
    client_secret: 'secret:with+characters/that need encoding',
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  jwks: { keys: [{ ...key, kid: randomUUID(), use: 'sig', alg: 'RS256' }] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: [randomUUID()] },
  features: { devInteractions: { enabled: true } },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
});
provider.listen(Number(port), '127.0.0.1');
