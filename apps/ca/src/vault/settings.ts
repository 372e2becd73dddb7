/** What a configuration of the provider `vault` says, with the keys and messages of Consul's. */
import { HeddleError } from "@heddle/daemon";

export interface VaultSettings {
  /** URL. */
  address: string;
  /** Of the PKI mounts, without slashes around them. */
  rootPath: string;
  intermediatePath: string;
  namespace: string;
  tlsServerName: string;
  /** Files; empty where none is named. */
  caFile: string;
  certFile: string;
  keyFile: string;
}

export const VAULT_KEYS = [
  "Address",
  "CAFile",
  "CertFile",
  "IntermediatePKIPath",
  "KeyFile",
  "Namespace",
  "RootPKIPath",
  "TLSServerName",
  "TLSSkipVerify",
  "Token",
];

/** Throws Consul's 500s. */
export function readVaultSettings(config: Record<string, unknown>): VaultSettings {
  const text = (key: string): string => {
    const value = config[key] ?? "";
    if (typeof value !== "string") throw refuse(`'${key}': want text`);
    return value;
  };
  const path = (key: string, what: string): string => {
    const trimmed = text(key).replace(/^\/+|\/+$/g, "");
    if (!/^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/.test(trimmed)) throw refuse(`must provide a valid path ${what}`);
    return trimmed;
  };
  // A Vault that anybody could stand in for would sign for anybody.
  if (config["TLSSkipVerify"] === true || config["TLSSkipVerify"] === "true")
    throw refuse("TLSSkipVerify is not allowed: name Vault's CA in CAFile");
  for (const key of ["CAPath", "AuthMethod"])
    if (key in config) throw refuse(`${key} is not supported: use ${key === "CAPath" ? "CAFile" : "Token"}`);
  return {
    address: readAddress(text("Address") || "http://127.0.0.1:8200"),
    rootPath: path("RootPKIPath", "to a root PKI backend"),
    intermediatePath: path("IntermediatePKIPath", "for the intermediate PKI backend"),
    namespace: text("Namespace"),
    tlsServerName: text("TLSServerName"),
    caFile: text("CAFile"),
    certFile: text("CertFile"),
    keyFile: text("KeyFile"),
  };
}

function readAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "")
    throw refuse("Address: want the URL of a Vault, as in https://vault.example:8200");
  return url.origin;
}

function refuse(why: string): HeddleError {
  return new HeddleError("invalid_argument", `error configuring provider: ${why}`, { status: 500 });
}
