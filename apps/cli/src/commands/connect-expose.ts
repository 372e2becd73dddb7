/** `heddle connect expose`: lets an ingress gateway offer a service, and the gateway talk to it. */
import { type ApiClient, ApiError } from "@heddle/api-client";
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import type { Terminal } from "../terminal.ts";
import { findByNames, type Intention, intentionPath, parseTarget } from "./intention.ts";

interface IngressService {
  Name: string;
  Namespace?: string;
  Hosts: string[] | null;
}

interface IngressGateway {
  Kind: string;
  Name: string;
  Namespace?: string;
  Listeners?: { Port: number; Protocol: string; Services: IngressService[] | null }[] | null;
  ModifyIndex?: number;
}

export const expose = command({
  usage: "connect expose [options]",
  about:
    "Adds a service to a listener of an ingress gateway, in the gateway's configuration entry, and allows the gateway to\nconnect to it.\n\n    $ heddle connect expose -service=web -ingress-gateway=edge -port=8888",
  api: "datacenter",
  flags: {
    host: flag.list("Further name by which the gateway knows the service."),
    ingressGateway: flag.text("Name of the ingress gateway's service."),
    port: flag.integer("Port of the gateway's listener.", 0, Number.MAX_SAFE_INTEGER, 0), // the agent refuses what is none
    protocol: flag.text("Protocol of the listener.", "tcp"),
    service: flag.text("Name of the service to offer."),
  },
  async run({ api, flags, terminal }) {
    const { service, ingressGateway, port, protocol } = flags;
    if (service === "") throw new CommandError("A service name must be given via the -service flag.");
    const to = nameOf(service, "service name");
    if (ingressGateway === "")
      throw new CommandError("An ingress gateway service must be given via the -ingress-gateway flag.");
    const from = nameOf(ingressGateway, "ingress gateway name");
    if (port === 0) throw new CommandError("A port must be provided via the -port flag.");

    const entry = await readGateway(api, from.name);
    const listeners = entry.Listeners ?? [];
    const offered: IngressService = { Name: to.name, Hosts: flags.host.length > 0 ? flags.host : null };
    const listener = listeners.find(({ Port }) => Port === port);
    if (listener && listener.Protocol !== protocol)
      throw new CommandError(
        `Listener on port ${port} already configured with conflicting protocol ${JSON.stringify(listener.Protocol)}`,
      );
    const others = listener?.Services?.filter(({ Name }) => Name !== to.name) ?? [];
    if (listener?.Services && others.length < listener.Services.length)
      terminal.out(`Updating service definition for "${service}" on listener with port ${port}\n`);
    const changed = { Port: port, Protocol: protocol, ...listener, Services: [...others, offered] };
    const body = { ...entry, Listeners: [...listeners.filter((l) => l !== listener), changed] };
    const query = { cas: String(entry.ModifyIndex ?? 0) };
    const written = await attempt("Error writing ingress config entry", api.put("/v1/config", { query, body }));
    if (written.body !== true)
      throw new CommandError("Ingress config entry was changed while attempting to update, please try again.");
    terminal.out(`Successfully updated config entry for ingress service "${from.name}"\n`);
    await allow(api, ingressGateway, service, terminal);
  },
});

function nameOf(text: string, what: string): { name: string } {
  try {
    return parseTarget(text, "");
  } catch (cause) {
    throw new CommandError(`Invalid ${what}: target can contain at most one '/'`, 1, { cause });
  }
}

async function readGateway(api: ApiClient, name: string): Promise<IngressGateway> {
  try {
    return (await api.get<IngressGateway>(`/v1/config/ingress-gateway/${encodeURIComponent(name)}`)).body;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return { Kind: "ingress-gateway", Name: name };
    return attempt("Error fetching existing ingress gateway configuration", Promise.reject(error as Error));
  }
}

async function allow(api: ApiClient, from: string, to: string, terminal: Terminal): Promise<void> {
  const existing = await attempt("Error looking up existing intention", findByNames(api, from, to));
  if (existing?.Action === "allow") return terminal.out(`Intention already exists for "${from}" -> "${to}"\n`);
  const intention: Intention = existing
    ? { ...existing, Action: "allow" }
    : {
        SourceName: parseTarget(from, "source").name,
        DestinationName: parseTarget(to, "destination").name,
        SourceType: "consul",
        Action: "allow",
      };
  const put = existing?.ID
    ? api.put(intentionPath(existing.ID), { body: intention })
    : api.post("/v1/connect/intentions", { body: intention });
  await attempt("Error upserting intention", put);
  terminal.out(`Successfully set up intention for "${from}" -> "${to}"\n`);
}
