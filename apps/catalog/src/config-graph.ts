/** Whether the config entries still make sense together once one of them is written or deleted. */
import {
  type ConfigEntry,
  type ConfigEntryOf,
  type ConfigKind,
  type IngressGatewayEntry,
  PROXY_DEFAULTS_NAME,
} from "@heddle/config-entries";
import { refusal } from "@heddle/daemon";
import { compileChain, type CompiledChain } from "@heddle/discovery-chain";
import type { View } from "@heddle/store";
import { type Entries, entriesOf, listEntries } from "./config-entries.ts";

export interface ConfigChange {
  kind: ConfigKind;
  name: string;
  /** What it is to be; undefined where it is deleted. */
  entry: ConfigEntry | undefined;
}

const ANY_DOMAIN = "consul"; // decides nothing here
const CHAIN_KINDS = ["service-router", "service-splitter", "service-resolver"] as const;

/** Throws Consul's refusal (500) where a chain could not be compiled any more, or a gateway's listener would not fit its service. */
export function checkGraph(view: View, change: ConfigChange, datacenter: string): void {
  switch (change.kind) {
    case "ingress-gateway":
    case "terminating-gateway":
      refuseClash(view, change);
      break;
    case "proxy-defaults":
    case "service-defaults":
    case "service-resolver":
    case "service-router":
    case "service-splitter":
      break;
    case "exported-services":
    case "jwt-provider":
    case "mesh":
    case "service-intentions":
      return;
  }
  const entries = withChange(entriesOf(view), change);
  const chains = new Map<string, CompiledChain>();
  const gateways = affectedGateways(view, change);
  for (const service of [...affectedServices(view, change), ...gateways.flatMap(servicesOf)]) {
    if (chains.has(service)) continue;
    const { chain, error } = compileChain({ service, datacenter, trustDomain: ANY_DOMAIN }, entries);
    if (!chain) throw refusal(500, error);
    chains.set(service, chain);
  }
  for (const gateway of gateways) checkListeners(chains, gateway, change.kind === "ingress-gateway");
}

function withChange(stored: Entries, { kind, name, entry }: ConfigChange): Entries {
  const lower = name.toLowerCase();
  return <K extends ConfigKind>(askedKind: K, askedName: string) =>
    askedKind === kind && askedName.toLowerCase() === lower
      ? (entry as ConfigEntryOf<K> | undefined)
      : stored(askedKind, askedName);
}

/** A name stands for one gateway, of one kind. */
function refuseClash(view: View, { kind, name, entry }: ConfigChange): void {
  if (!entry) return;
  const other = kind === "ingress-gateway" ? "terminating-gateway" : "ingress-gateway";
  if (entriesOf(view)(other, name))
    throw refusal(
      500,
      `cannot create a "${kind}" config entry with name "${name}", a "${other}" config entry with that name already exists`,
    );
}

/** The services whose chains the change may alter: its own, and those that refer to it. */
function affectedServices(view: View, { kind, name, entry }: ConfigChange): Set<string> {
  const names = new Set<string>();
  if (kind === "proxy-defaults") {
    for (const chainKind of CHAIN_KINDS) for (const { value } of listEntries(view, chainKind)) names.add(value.Name);
    return names;
  }
  if (kind === "ingress-gateway" || kind === "terminating-gateway") return names;
  names.add(entry?.Name ?? name);
  const lower = name.toLowerCase();
  for (const chainKind of CHAIN_KINDS)
    for (const { value } of listEntries(view, chainKind))
      if (references(value).some((service) => service.toLowerCase() === lower)) names.add(value.Name);
  return names;
}

/** The other services that a router, splitter or resolver leads to. */
function references(entry: ConfigEntryOf<(typeof CHAIN_KINDS)[number]>): string[] {
  const found: (string | undefined)[] = [];
  if (entry.Kind === "service-router") for (const r of entry.Routes ?? []) found.push(r.Destination?.Service);
  else if (entry.Kind === "service-splitter") for (const s of entry.Splits ?? []) found.push(s.Service);
  else {
    found.push(entry.Redirect?.Service);
    for (const failover of Object.values(entry.Failover ?? {})) found.push(failover.Service);
  }
  return found.filter((name): name is string => name !== undefined && name !== "");
}

function affectedGateways(view: View, { kind, name, entry }: ConfigChange): IngressGatewayEntry[] {
  if (kind === "ingress-gateway") return entry ? [entry as IngressGatewayEntry] : [];
  if (kind === "terminating-gateway") return [];
  const all = listEntries(view, "ingress-gateway").map((r) => r.value);
  if (kind === "proxy-defaults" && name === PROXY_DEFAULTS_NAME) return all;
  return all.filter((gateway) => servicesOf(gateway).some((service) => service.toLowerCase() === name.toLowerCase()));
}

function servicesOf(gateway: IngressGatewayEntry): string[] {
  return (gateway.Listeners ?? []).flatMap((l) => l.Services.map((s) => s.Name)).filter((name) => name !== "*");
}

/**
 * A service that is named must speak what its listener speaks; a wildcard takes those that do. Bytes may be let through to
 * whatever is behind one resolver, but for a gateway that is being written now (`isStrict`).
 */
function checkListeners(chains: Map<string, CompiledChain>, gateway: IngressGatewayEntry, isStrict: boolean): void {
  for (const { Protocol, Services } of gateway.Listeners ?? []) {
    for (const { Name } of Services) {
      const chain = chains.get(Name);
      if (!chain || chain.Protocol === Protocol) continue;
      const isPassedOn = Protocol === "tcp" && chain.Nodes[chain.StartNode]?.Type === "resolver";
      if (isStrict || !isPassedOn)
        throw refusal(
          500,
          `service ${JSON.stringify(Name)} has protocol ${JSON.stringify(chain.Protocol)}, which does not match defined listener protocol ${JSON.stringify(Protocol)}`,
        );
    }
  }
}
