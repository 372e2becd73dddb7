/** What an ingress gateway and a terminating gateway must be by themselves. */
import { InvalidArgumentError } from "@heddle/daemon";
import type { IngressGatewayEntry, IngressListener, TerminatingGatewayEntry } from "./types-mesh.ts";

const fail = (text: string): never => {
  throw new InvalidArgumentError(text);
};
const PROTOCOLS = new Set(["grpc", "http", "http2", "tcp"]);
const MAX_HOST = 253;

/** A listener's protocol is in lower case, "tcp" where none is given. */
export function fillIngress(entry: IngressGatewayEntry): IngressGatewayEntry {
  const listeners = entry.Listeners?.map((listener) => ({
    ...listener,
    Protocol: listener.Protocol === "" ? "tcp" : listener.Protocol.toLowerCase(),
  }));
  return { ...entry, Listeners: listeners ?? entry.Listeners };
}

export function checkIngress(entry: IngressGatewayEntry): void {
  if (entry.Name === "") fail("failed inserting config entry: object missing primary index");
  const ports = new Set<number>();
  for (const listener of entry.Listeners ?? []) {
    if (ports.has(listener.Port)) fail(`port ${listener.Port} declared on two listeners`);
    ports.add(listener.Port);
    if (!PROTOCOLS.has(listener.Protocol))
      fail(`protocol must be 'tcp', 'http', 'http2', or 'grpc'. '${listener.Protocol}' is an unsupported protocol`);
    checkListener(listener, entry.TLS.Enabled);
  }
}

function checkListener({ Port, Protocol, Services }: IngressListener, tls: boolean): void {
  const where = `(listener on port ${Port})`;
  const services = Services ?? [];
  if (services.length === 0) fail(`No service declared for listener with port ${Port}`);
  if (Protocol !== "http" && services.length > 1)
    fail(`Multiple services per listener are only supported for protocol = 'http' ${where}`);
  const declared = new Set<string>();
  for (const { Name, Hosts } of services) {
    const hosts = Hosts ?? [];
    if (Protocol === "tcp") {
      if (Name === "*") fail(`Wildcard service name is only valid for protocol = 'http' ${where}`);
      if (hosts.length > 0)
        fail(`Associating hosts to a service is not supported for the ${Protocol} protocol ${where}`);
    }
    if (Name === "") fail(`Service name cannot be blank ${where}`);
    if (Name === "*" && hosts.length > 0) fail(`Associating hosts to a wildcard service is not supported ${where}`);
    for (const host of hosts) {
      if (declared.has(host)) fail(`Hosts must be unique within a specific listener ${where}`);
      declared.add(host);
      checkHost(host, tls);
    }
  }
}

function checkHost(host: string, tls: boolean): void {
  if (host === "*") {
    if (tls)
      fail("Host '*' is not allowed when TLS is enabled, all hosts must be valid DNS records to add as a DNSSAN");
    return;
  }
  if (host === ".") return;
  const labels = host.replace(/\.$/, "").split(".");
  if (host.length > MAX_HOST || labels.some((label) => label === "" || label.length > 63))
    fail(`Host ${JSON.stringify(host)} must be a valid DNS hostname`);
  if (host.slice(host.startsWith("*.") ? 2 : 0).includes("*"))
    fail(`Host ${JSON.stringify(host)} is not valid, a wildcard specifier is only allowed as the leftmost label`);
}

export function checkTerminating(entry: TerminatingGatewayEntry): void {
  const seen = new Set<string>();
  for (const { Name, CAFile, CertFile, KeyFile } of entry.Services ?? []) {
    if (!Name) fail("Service name cannot be blank.");
    if (seen.has(Name)) fail(`Service ${JSON.stringify(Name)} was specified more than once within a namespace`);
    seen.add(Name);
    // A CA alone is TLS to the service, a certificate needs its key and the CA.
    if ((CertFile || KeyFile) && !(CAFile && CertFile && KeyFile))
      fail(`Service ${JSON.stringify(Name)} must have a CertFile, CAFile, and KeyFile specified for TLS origination`);
  }
  if (entry.Name === "") fail("serviceName is required");
}
