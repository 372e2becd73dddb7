/** The flags and variables with which every command finds its agent: Consul's names, and HEDDLE_… ahead of CONSUL_…. */
import { describeError, type Option, option } from "@heddle/daemon";
import type { ApiClientOptions } from "./client.ts";
import { parseAddress, type TlsSettings } from "./transport.ts";

export const DEFAULT_ADDRESS = "http://127.0.0.1:8500";

const env = (name: string) => ({ env: [`HEDDLE_${name}`, `CONSUL_${name}`] });

/** For `loadOptions`, beside a command's own. */
export const apiOptions = {
  httpAddr: { ...option.string("Address of the agent's HTTP API.", DEFAULT_ADDRESS), ...env("HTTP_ADDR") },
  token: { ...option.string("ACL token of the requests."), ...env("HTTP_TOKEN") },
  tokenFile: { ...option.string("File that holds the ACL token."), ...env("HTTP_TOKEN_FILE") },
  caFile: { ...option.string("CA file that the agent's certificate is checked with."), ...env("CACERT") },
  caPath: { ...option.string("Directory of CA files."), ...env("CAPATH") },
  clientCert: { ...option.string("Client certificate for an agent that verifies its callers."), ...env("CLIENT_CERT") },
  clientKey: { ...option.string("Key of the client certificate."), ...env("CLIENT_KEY") },
  tlsServerName: {
    ...option.string("Name that the agent's certificate must carry (SNI)."),
    ...env("TLS_SERVER_NAME"),
  },
  datacenter: { ...option.string("Datacenter to ask; that of the agent by default."), env: ["HEDDLE_DATACENTER"] },
  stale: option.boolean("Let any server answer, not only the leader."),
} satisfies Record<string, Option<unknown>>;

export type ApiOptionValues = { [K in keyof typeof apiOptions]: (typeof apiOptions)[K]["default"] };

export interface OptionSources {
  env: Record<string, string | undefined>;
  readFile: (path: string) => string;
  /** Names of a directory's files; needed for -ca-path only. */
  readDir?: (path: string) => string[];
}

/** Turns the flags' values into the client's options. Problems are added to `problems`, as for every other flag. */
export function toApiClientOptions(
  values: ApiOptionValues,
  sources: OptionSources,
  problems: string[],
): ApiClientOptions {
  const fromEnv = (name: string) => sources.env[`HEDDLE_${name}`] || sources.env[`CONSUL_${name}`] || "";
  const readFile = (path: string, flag: string): string | undefined => {
    if (path === "") return undefined;
    try {
      return sources.readFile(path);
    } catch (error) {
      problems.push(`${flag}: cannot read '${path}': ${describeError(error)}`);
      return undefined;
    }
  };
  const isOn = (name: string): boolean | undefined => {
    const text = fromEnv(name);
    if (text === "") return undefined;
    if (/^(?:1|t|true)$/i.test(text)) return true;
    if (/^(?:0|f|false)$/i.test(text)) return false;
    problems.push(`CONSUL_${name}: invalid value '${text}': want true or false`);
    return undefined;
  };

  const preferTls = isOn("HTTP_SSL") === true;
  // As in Consul's: scripts give -http-addr="$ADDRESS" whether it is set or not.
  let address = values.httpAddr || fromEnv("HTTP_ADDR") || DEFAULT_ADDRESS;
  try {
    const parsed = parseAddress(address, preferTls);
    if (!parsed.socketPath) address = parsed.url.href;
  } catch (error) {
    problems.push(`-http-addr: ${describeError(error)}`);
  }
  const ca = [readFile(values.caFile, "-ca-file")];
  if (values.caPath !== "") {
    try {
      for (const name of sources.readDir?.(values.caPath) ?? [])
        ca.push(readFile(`${values.caPath}/${name}`, "-ca-path"));
    } catch (error) {
      problems.push(`-ca-path: cannot read '${values.caPath}': ${describeError(error)}`);
    }
  }
  const cert = readFile(values.clientCert, "-client-cert");
  const key = readFile(values.clientKey, "-client-key");
  if ((values.clientCert === "") !== (values.clientKey === ""))
    problems.push("-client-cert and -client-key: want both or none");
  const known = ca.filter((pem) => pem !== undefined);
  const verify = isOn("HTTP_SSL_VERIFY");
  const tls: TlsSettings = {
    ...(known.length > 0 && { ca: known }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(values.tlsServerName !== "" && { serverName: values.tlsServerName }),
    ...(verify !== undefined && { verify }),
  };
  return {
    address,
    token: values.token || readFile(values.tokenFile, "-token-file")?.trim() || undefined,
    tls,
    basicAuth: fromEnv("HTTP_AUTH") || undefined,
    query: { dc: values.datacenter || undefined, stale: values.stale || undefined },
  };
}
