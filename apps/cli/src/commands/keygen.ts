/** `heddle keygen`: a key of the form that Consul's agents take for gossip, which Heddle does not have. */
import { randomBytes } from "node:crypto";
import { command } from "../command.ts";

const KEY_BYTES = 32;

export const keygen = command({
  usage: "keygen",
  about:
    "Makes a gossip key of 32 bytes, for scripts that expect one. Heddle has no gossip and needs no such key: its\ndaemons speak mutual TLS, with the certificates of `heddle tls`.",
  async run({ terminal }) {
    terminal.err(
      "Heddle has no gossip: an agent takes this key with -encrypt and ignores it. See 'heddle tls --help'.\n",
    );
    terminal.out(`${randomBytes(KEY_BYTES).toString("base64")}\n`);
  },
});
