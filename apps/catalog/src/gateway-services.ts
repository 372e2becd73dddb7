/** What a gateway serves: the services that its config entry names, and those that its wildcard takes in. */
import type { IngressGatewayEntry, LinkedService, TerminatingGatewayEntry } from "@heddle/config-entries";
import { compileChain } from "@heddle/discovery-chain";
import type { StoredRecord } from "@heddle/store";
import { entriesOf, findEntry } from "./config-entries.ts";
import type { CatalogState } from "./state.ts";

/** A row of /v1/catalog/gateway-services; keys as in Consul's answers, left out where they are empty. */
export interface GatewayService {
  Gateway: { Name: string };
  Service: { Name: string };
  GatewayKind: "ingress-gateway" | "terminating-gateway";
  Port?: number;
  Protocol?: string;
  Hosts?: string[];
  CAFile?: string;
  CertFile?: string;
  KeyFile?: string;
  SNI?: string;
  FromWildcard?: true;
  CreateIndex: number;
  ModifyIndex: number;
}

/** The rows of a gateway, by service. */
export function gatewayServices(state: CatalogState, gateway: string): GatewayService[] {
  const ingress = findEntry(state.store, "ingress-gateway", gateway) as StoredRecord<IngressGatewayEntry> | undefined;
  const terminating = findEntry(state.store, "terminating-gateway", gateway) as
    | StoredRecord<TerminatingGatewayEntry>
    | undefined;
  const rows = ingress ? ingressRows(state, ingress) : terminating ? terminatingRows(state, terminating) : [];
  return rows.sort(
    (a, b) => compare(a.Service.Name.toLowerCase(), b.Service.Name.toLowerCase()) || (a.Port ?? 0) - (b.Port ?? 0),
  );
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function ingressRows(state: CatalogState, record: StoredRecord<IngressGatewayEntry>): GatewayService[] {
  const { Name, Listeners } = record.value;
  const entries = entriesOf(state.store);
  const protocolOf = (service: string) =>
    compileChain({ service, datacenter: "", trustDomain: "" }, entries).chain?.Protocol;
  return (Listeners ?? []).flatMap(({ Port, Protocol, Services }) => {
    const row = (service: string) => ({
      ...base("ingress-gateway", Name, service, record),
      ...(Port !== 0 && { Port }),
      Protocol,
    });
    // A service that is named twice on a listener counts once, as it was named last.
    const named = [...new Map(Services.map((s) => [s.Name.toLowerCase(), s])).values()].filter((s) => s.Name !== "*");
    const rows: GatewayService[] = named.map((s) => ({
      ...row(s.Name),
      ...(s.Hosts && s.Hosts.length > 0 && { Hosts: s.Hosts }),
    }));
    if (!Services.some((s) => s.Name === "*")) return rows;
    // A wildcard takes in what speaks the listener's protocol.
    const taken = others(state, named).filter((service) => protocolOf(service) === Protocol);
    return [...rows, ...taken.map((service) => ({ ...row(service), FromWildcard: true as const }))];
  });
}

function terminatingRows(state: CatalogState, record: StoredRecord<TerminatingGatewayEntry>): GatewayService[] {
  const { Name, Services } = record.value;
  const row = ({ Name: _name, Namespace: _namespace, ...tls }: LinkedService, service: string): GatewayService => ({
    ...base("terminating-gateway", Name, service, record),
    ...tls,
  });
  const named = (Services ?? []).filter((s) => s.Name !== "*");
  const wildcard = (Services ?? []).find((s) => s.Name === "*");
  const rows = named.map((s) => row(s, s.Name));
  if (!wildcard) return rows;
  return [
    ...rows,
    ...others(state, named).map((service) => ({ ...row(wildcard, service), FromWildcard: true as const })),
  ];
}

function base(kind: GatewayService["GatewayKind"], gateway: string, service: string, record: StoredRecord) {
  return {
    Gateway: { Name: gateway },
    Service: { Name: service },
    GatewayKind: kind,
    CreateIndex: record.createIndex,
    ModifyIndex: record.modifyIndex,
  };
}

/** What is registered and could be behind a gateway, but for what the gateway names itself. */
function others(state: CatalogState, named: readonly { Name: string }[]): string[] {
  const excluded = new Set(named.map((s) => s.Name.toLowerCase()));
  return state.plainNames().filter((name) => !excluded.has(name.toLowerCase()));
}
