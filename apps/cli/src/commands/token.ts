/** `heddle token join|list|revoke`: who may join the mesh, and who has. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson } from "../output.ts";

const TOKENS = "/v1/connect/ca/join-tokens";
const NODES = "/v1/connect/ca/joined-nodes";
const HOUR_MS = 3_600_000;

interface Token {
  ID: string;
  ExpiresAt: string;
  Uses: number;
  Used: number;
  UsedBy: { Node: string; At: string }[];
  Node: string;
}

interface JoinedNode {
  Node: string;
  Token: string;
  JoinedAt: string;
  SignedAt: string;
}

export const join = command({
  usage: "token join [options]",
  about:
    "Makes a token by which nodes join, and prints the line for their agents: where this server is, by which root it is\nrecognised, and the token. It is shown once, and whoever has it may join: hand it over like a password.\n\n    $ heddle token join -node web-1\n    $ heddle agent -data-dir=DIR -join 'THE LINE'",
  api: "agent",
  flags: {
    address: flag.text("host:port at which the node reaches this server, where that is not its advertised address."),
    format: flag.format(),
    node: flag.text("The only node that may join with it."),
    ttl: flag.duration("How long it may be used, up to 720h.", HOUR_MS),
    uses: flag.integer("How many nodes may join with it.", 1, 10_000, 1),
  },
  async run({ api, flags, terminal }) {
    const body = { TTL: `${flags.ttl}ms`, Uses: flags.uses, ...(flags.node && { Node: flags.node }) };
    const made = (await attempt("Error making a join token", api.put<Token & { Join: string }>(TOKENS, { body }))).body;
    const Join = flags.address ? made.Join.replace(/^[^/]+/, flags.address) : made.Join;
    terminal.out(flags.format === "json" ? `${formatJson({ ...made, Join })}\n` : `${Join}\n`);
  },
});

export const list = command({
  usage: "token list [options]",
  about: "Lists the tokens by which nodes may join; with -nodes, the nodes that have. Secrets are not kept.",
  api: "agent",
  flags: { format: flag.format(), nodes: flag.boolean("List the nodes that have joined by a token.") },
  async run({ api, flags, terminal }) {
    if (flags.nodes) {
      const { body } = await attempt("Error listing joined nodes", api.get<JoinedNode[]>(NODES));
      if (flags.format === "json") return terminal.out(`${formatJson(body)}\n`);
      const rows = body.map(({ Node, Token, JoinedAt, SignedAt }) => [Node, Token, JoinedAt, SignedAt]);
      return terminal.out(columns([["Node", "Token", "Joined", "Signed"], ...rows]));
    }
    const { body } = await attempt("Error listing join tokens", api.get<Token[]>(TOKENS));
    if (flags.format === "json") return terminal.out(`${formatJson(body)}\n`);
    const rows = body.map(({ ID, ExpiresAt, Uses, Used, UsedBy, Node }) => [
      ...[ID, ExpiresAt, `${Used}/${Uses}`, Node || "<any>", UsedBy.map((use) => use.Node).join(",") || "<none>"],
    ]);
    terminal.out(columns([["ID", "Expires", "Used", "For", "By"], ...rows]));
  },
});

export const revoke = command({
  usage: "token revoke [options] [ID]",
  about:
    "Revokes a join token, by its ID or the whole token: nobody joins with it any more. With -node, the node is out\nat once: the servers refuse its certificates and end its connections, and its name is free to join anew with another key.\n\n    $ heddle token revoke 4f1c09aa21be\n    $ heddle token revoke -node web-1",
  api: "agent",
  flags: { node: flag.text("A node that has joined by a token.") },
  async run({ api, args, flags, terminal }) {
    const [id, ...more] = args;
    if (more.length > 0 || (id === undefined) === (flags.node === ""))
      throw new CommandError("Please give the ID of a token, or -node with a node's name");
    const [path, name] = id === undefined ? [NODES, flags.node] : [TOKENS, id.split(".")[0] as string];
    await attempt("Error revoking", api.delete(`${path}/${encodeURIComponent(name)}`));
    terminal.out(`Revoked: ${name}\n`);
  },
});
