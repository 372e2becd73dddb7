/** `heddle services register|deregister`: from flags, or from files as an agent reads them. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";

export const register = command({
  usage: "services register [options] [FILE...]",
  about: `Registers services with the local agent, from files (JSON or HCL, or directories of them) with a service or
services block, or from flags. They stay until \`heddle services deregister\`.

    $ heddle services register web.json
    $ heddle services register -name=web -port=8080 -tag=v1`,
  api: "datacenter",
  hasNamespace: true,
  flags: {
    address: flag.text("Address of the service; that of the node by default."),
    id: flag.text("Id of the instance; the name by default."),
    kind: flag.text("Kind of the service, such as connect-proxy."),
    meta: flag.pairs("Metadata of the service."),
    name: flag.text("Name of the service."),
    port: flag.integer("Port of the service.", 0, 65_535, 0),
    tag: flag.list("Tag of the service."),
    taggedAddress: flag.pairs("Further address, such as lan=10.0.0.1:80."),
  },
  async run({ api, args, flags, terminal }) {
    if (flags.name === "" && args.length === 0)
      throw new CommandError("Service registration requires at least one argument or flags.");
    if (flags.name !== "" && args.length > 0)
      throw new CommandError("Service registration requires arguments or -id, not both.");
    for (const body of args.length > 0 ? await fromFiles(args) : [fromFlags(flags)]) {
      await attempt(
        `Error registering service "${String(body.Name)}"`,
        api.put("/v1/agent/service/register", { body }),
      );
      terminal.out(`Registered service: ${String(body.Name)}\n`);
    }
  },
});

async function fromFiles(paths: readonly string[]): Promise<Record<string, unknown>[]> {
  const { readServiceFiles, toRegistration } = await import("../service-files.ts");
  return readServiceFiles(paths).map(toRegistration);
}

interface RegisterFlags {
  address: string;
  id: string;
  kind: string;
  meta: Record<string, string>;
  name: string;
  port: number;
  tag: string[];
  taggedAddress: Record<string, string>;
}

function fromFlags({
  address,
  id,
  kind,
  meta,
  name,
  port,
  tag,
  taggedAddress,
}: RegisterFlags): Record<string, unknown> {
  const addresses = Object.entries(taggedAddress).map(([key, text]) => [key, parseTaggedAddress(text)]);
  return {
    Name: name,
    ...(id && { ID: id }),
    ...(kind && { Kind: kind }),
    ...(address && { Address: address }),
    ...(port > 0 && { Port: port }),
    ...(tag.length > 0 && { Tags: tag }),
    ...(Object.keys(meta).length > 0 && { Meta: meta }),
    ...(addresses.length > 0 && { TaggedAddresses: Object.fromEntries(addresses) as unknown }),
  };
}

/** "10.0.0.1:80", "[::1]:80", or an address alone. */
function parseTaggedAddress(text: string): { Address: string; Port?: number } {
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text) ?? [];
  const Address = bracketed ?? plain;
  return Address === undefined ? { Address: text } : { Address, Port: Number(port) };
}

export const deregister = command({
  usage: "services deregister [options] [FILE...]",
  about:
    "Deregisters services from the local agent, by the files that defined them or by id.\n\n    $ heddle services deregister web.json\n    $ heddle services deregister -id=web",
  api: "datacenter",
  hasNamespace: true,
  flags: { id: flag.text("Id of the service.") },
  async run({ api, args, flags, terminal }) {
    if (flags.id === "" && args.length === 0)
      throw new CommandError("Service deregistration requires at least one argument or -id.");
    if (flags.id !== "" && args.length > 0)
      throw new CommandError("Service deregistration requires arguments or -id, not both.");
    const ids =
      args.length > 0
        ? (await import("../service-files.ts")).readServiceFiles(args).map((service) => service.ID)
        : [flags.id];
    for (const id of ids) {
      await attempt(
        `Error deregistering service "${id}"`,
        api.put(`/v1/agent/service/deregister/${encodeURIComponent(id)}`),
      );
      terminal.out(`Deregistered service: ${id}\n`);
    }
  },
});
