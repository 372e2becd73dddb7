/** Where a mesh keeps its records when that is not its data directory: "etcd://host:2379,host:2379/prefix". */
import { readFileSync } from "node:fs";
import { InvalidArgumentError, isLoopback } from "@heddle/daemon";

const DEFAULT_ROOT = "heddle";
const DEFAULT_PORT = 2379;
const MAX_ENDPOINTS = 16;

/** The options of a daemon that names its store; every text may be empty. */
export interface StoreOptions {
  /** Empty: the data directory. "etcd://…" in plain text, on loopback only; "etcds://…" over TLS. */
  store: string;
  storeCaFile: string;
  storeCertFile: string;
  storeKeyFile: string;
  /** Of etcd's own authentication; the password stands in the file. */
  storeUser: string;
  storePasswordFile: string;
}

/** What a client of etcd needs. */
export interface EtcdSettings {
  endpoints: string[];
  /** Above everything of this mesh, without slashes at its ends. */
  root: string;
  tls: { ca?: string; cert?: string; key?: string } | undefined;
  user: { name: string; password: string } | undefined;
}

export interface StoreAddress {
  scheme: "etcd" | "etcds";
  endpoints: string[];
  root: string;
}

/** Throws InvalidArgumentError, saying what is accepted. */
export function parseStoreAddress(text: string): StoreAddress {
  const [, scheme, hosts, path] = /^(etcds?):\/\/([^/?#@]+)(?:\/([^?#]*))?$/.exec(text) ?? [];
  if (!scheme || !hosts)
    throw new InvalidArgumentError(
      `invalid store '${text}': want etcd://HOST:PORT[,HOST:PORT…][/PREFIX], or etcds://… for TLS`,
    );
  const root = (path ?? "").replace(/^\/+|\/+$/g, "") || DEFAULT_ROOT;
  if (!/^[\w.-]+(?:\/[\w.-]+)*$/.test(root))
    throw new InvalidArgumentError(
      `invalid prefix '${root}' of store '${text}': want letters, digits, '.', '_', '-', '/'`,
    );
  const endpoints = hosts.split(",").map((host) => toEndpoint(host, scheme === "etcds", text));
  if (endpoints.length > MAX_ENDPOINTS)
    throw new InvalidArgumentError(
      `store '${text}' names ${endpoints.length} endpoints: at most ${MAX_ENDPOINTS} are taken`,
    );
  return { scheme: scheme as "etcd" | "etcds", endpoints, root };
}

/** Undefined for the data directory. Reads the files. Throws InvalidArgumentError where they do not go together. */
export function readStoreOptions(options: StoreOptions): EtcdSettings | undefined {
  const { store, storeCaFile, storeCertFile, storeKeyFile, storeUser, storePasswordFile } = options;
  if (store === "") return undefined;
  const { scheme, endpoints, root } = parseStoreAddress(store);
  const isPlain = scheme === "etcd";
  const far = endpoints.find((url) => !isLoopback(new URL(url).hostname.replace(/^\[|\]$/g, "")));
  if (isPlain && far)
    throw new InvalidArgumentError(
      `refusing to talk to etcd at ${far} in plain text: off loopback give etcds://… and -store-ca-file`,
    );
  if (isPlain && (storeCaFile || storeCertFile || storeKeyFile))
    throw new InvalidArgumentError(`store '${store}' is plain text, but TLS files are given: write etcds://…`);
  if ((storeCertFile === "") !== (storeKeyFile === ""))
    throw new InvalidArgumentError("-store-cert-file and -store-key-file go together: one of them is not given");
  if ((storeUser === "") !== (storePasswordFile === ""))
    throw new InvalidArgumentError("-store-user and -store-password-file go together: one of them is not given");
  const tls = {
    ...(storeCaFile && { ca: read(storeCaFile) }),
    ...(storeCertFile && { cert: read(storeCertFile), key: read(storeKeyFile) }),
  };
  return {
    ...{ endpoints, root, tls: isPlain ? undefined : tls },
    user: storeUser === "" ? undefined : { name: storeUser, password: read(storePasswordFile).replace(/\r?\n$/, "") },
  };
}

function toEndpoint(host: string, isTls: boolean, text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(`http://${host}`);
  } catch {
    // refused below
  }
  if (!url || url.pathname !== "/" || host.endsWith(":"))
    throw new InvalidArgumentError(`invalid endpoint '${host}' of store '${text}': want HOST or HOST:PORT`);
  return `${isTls ? "https" : "http"}://${url.hostname}:${/:\d+$/.exec(host)?.[0].slice(1) ?? DEFAULT_PORT}`;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new InvalidArgumentError(`cannot read ${path}`, { cause });
  }
}
