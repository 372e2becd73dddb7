/**
 * The `Config` of `/v1/connect/ca/configuration`: kept word for word as it was given, and read into settings by the rules
 * and with the messages of Consul's built-in provider.
 */
import { formatDuration, HeddleError, parseDuration } from "@heddle/daemon";
import { DEFAULT_ROOT_VALIDITY_MS, signingKeyProblem, type SigningKeyType } from "@heddle/tls";
import type { Provider } from "./records.ts";
import { readVaultSettings, VAULT_KEYS, type VaultSettings } from "./vault/settings.ts";

/** As the API shows it. */
export type ProviderConfig = Record<string, unknown>;

export interface CaSettings {
  leafTtlMs: number;
  /** 0 is no limit. */
  csrMaxPerSecond: number;
  /** How many are signed at once where there is no limit per second; 0 is no limit. */
  csrMaxConcurrent: number;
  /** Of a root that is made here. */
  rootTtlMs: number;
  /** Of an intermediate that is made here. */
  intermediateTtlMs: number;
  /** An intermediate is replaced after this, and at two thirds of its life where that is sooner; 0 leaves it at that. */
  rotationPeriodMs: number;
  /** A rotation that proxies do not follow is taken back after this; 0 never. */
  rotationTimeoutMs: number;
  /** The root signs one intermediate now and then, and that signs leaves. */
  intermediateSigns: boolean;
  keyType: SigningKeyType;
  /** False where the type of key is the default for want of another. */
  hasKeyType: boolean;
  /** PEM of an offered root and its key; empty where the CA makes its own. */
  privateKey: string;
  rootCert: string;
  /** PEM of an intermediate of an offered root; the private key is then its. */
  intermediateCert: string;
  /** Where Vault signs. */
  vault: VaultSettings | undefined;
}

export const DEFAULT_PROVIDER_CONFIG: ProviderConfig = {
  IntermediateCertTTL: "8760h",
  LeafCertTTL: "72h",
  RotationPeriod: "2160h",
};
const HOUR_MS = 3_600_000;
const MIN_LEAF_TTL_MS = HOUR_MS;
const MAX_LEAF_TTL_MS = 8_760 * HOUR_MS;
const DEFAULT_LEAF_TTL_MS = 72 * HOUR_MS;
const DEFAULT_INTERMEDIATE_TTL_MS = 8_760 * HOUR_MS;
const DEFAULT_ROTATION_TIMEOUT_MS = 10 * 60_000; // at 50 leaves a second the last of 30,000
const DEFAULT_CSR_MAX_PER_SECOND = 50;
const SHORTEST_LEAF_TTL_MS = 10_000;
const MAX_ROOT_TTL_MS = 100 * 8_760 * HOUR_MS;
const DEFAULT_KEY: SigningKeyType = { type: "ec", bits: 256 };

const KNOWN = [
  "ClusterID",
  "CSRMaxConcurrent",
  "CSRMaxPerSecond",
  "IntermediateCert",
  "IntermediateCertTTL",
  "IntermediateSigns",
  "LeafCertTTL",
  "PrivateKey",
  "PrivateKeyBits",
  "PrivateKeyType",
  "RootCert",
  "RootCertTTL",
  "RotationPeriod",
  "RotationTimeout",
  "SkipValidate",
];
const NAMES = new Map([...KNOWN, ...VAULT_KEYS].map((name) => [name.toLowerCase(), name]));

/** `leaf_cert_ttl`, as agents' files have it, and `leafCertTTL` both name LeafCertTTL; unknown keys stay as they are. */
export function canonicalKeys(given: ProviderConfig): ProviderConfig {
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => [NAMES.get(key.replaceAll("_", "").toLowerCase()) ?? key, value]),
  );
}

export function unknownKeys(given: ProviderConfig, provider: Provider): string[] {
  const known = provider === "vault" ? [...KNOWN, ...VAULT_KEYS] : KNOWN;
  return Object.keys(canonicalKeys(given)).filter((key) => !known.includes(key));
}

/** Checks a configuration and reads what counts. Throws Consul's 500s. */
export function readSettings(given: ProviderConfig, provider: Provider): CaSettings {
  const config = canonicalKeys(given);
  const problems: string[] = [];
  const read = <T>(key: string, initial: T, parse: (key: string, value: unknown) => T): T => {
    const value = config[key];
    if (value === undefined || value === null) return initial;
    try {
      return parse(key, value);
    } catch (error) {
      problems.push((error as Error).message);
      return initial;
    }
  };
  const leafTtlMs = read("LeafCertTTL", DEFAULT_LEAF_TTL_MS, duration);
  const intermediateTtlMs = read("IntermediateCertTTL", DEFAULT_INTERMEDIATE_TTL_MS, duration);
  const rotationPeriodMs = read("RotationPeriod", 0, duration);
  const rotationTimeoutMs = read("RotationTimeout", DEFAULT_ROTATION_TIMEOUT_MS, duration);
  const rootTtlMs = read("RootCertTTL", DEFAULT_ROOT_VALIDITY_MS, duration);
  const csrMaxPerSecond = read("CSRMaxPerSecond", DEFAULT_CSR_MAX_PER_SECOND, float);
  const csrMaxConcurrent = read("CSRMaxConcurrent", 0, integer);
  const type = read("PrivateKeyType", DEFAULT_KEY.type as string, text);
  const bits = read("PrivateKeyBits", DEFAULT_KEY.bits, integer);
  const privateKey = read("PrivateKey", "", text);
  const rootCert = read("RootCert", "", text);
  const intermediateCert = read("IntermediateCert", "", text);
  const intermediateSigns = read("IntermediateSigns", false, flag);
  const isTest = read("SkipValidate", false, flag);
  if (problems.length > 0) {
    const list = problems.toSorted().map((problem) => `* ${problem}`);
    throw refused(`error decoding config: ${problems.length} error(s) decoding:\n\n${list.join("\n")}`);
  }
  // As in Consul, a way to shorter lives for tests; below this a leaf would be over before it reached its proxy.
  if (leafTtlMs < SHORTEST_LEAF_TTL_MS && isTest)
    throw refused(`leaf cert TTL must be greater or equal than ${formatDuration(SHORTEST_LEAF_TTL_MS)}`);
  if (!isTest) checkLifetimes({ leafTtlMs, intermediateTtlMs, rootTtlMs });
  const problem = signingKeyProblem(type, bits);
  if (problem !== undefined) throw refused(problem);
  return {
    leafTtlMs,
    csrMaxPerSecond: Math.max(0, csrMaxPerSecond),
    csrMaxConcurrent: Math.max(0, csrMaxConcurrent),
    rootTtlMs,
    intermediateTtlMs,
    rotationPeriodMs: Math.max(0, rotationPeriodMs),
    rotationTimeoutMs: Math.max(0, rotationTimeoutMs),
    intermediateSigns,
    keyType: { type: type as SigningKeyType["type"], bits },
    hasKeyType: isGiven(config["PrivateKeyType"]) || isGiven(config["PrivateKeyBits"]),
    privateKey,
    rootCert,
    intermediateCert,
    vault: provider === "vault" ? readVaultSettings(config) : undefined,
  };
}

function checkLifetimes({
  leafTtlMs,
  intermediateTtlMs,
  rootTtlMs,
}: Record<"leafTtlMs" | "intermediateTtlMs" | "rootTtlMs", number>): void {
  if (leafTtlMs < MIN_LEAF_TTL_MS)
    throw refused(`leaf cert TTL must be greater or equal than ${formatDuration(MIN_LEAF_TTL_MS)}`);
  if (leafTtlMs > MAX_LEAF_TTL_MS) throw refused(`leaf cert TTL must be less than ${formatDuration(MAX_LEAF_TTL_MS)}`);
  if (intermediateTtlMs < 3 * MIN_LEAF_TTL_MS) throw refused("Intermediate Cert TTL must be greater or equal than 3h");
  if (intermediateTtlMs < 3 * leafTtlMs)
    throw refused(
      `Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=${formatDuration(3 * leafTtlMs)}).`,
    );
  if (rootTtlMs < 3 * leafTtlMs || rootTtlMs > MAX_ROOT_TTL_MS)
    throw refused(
      `Root Cert TTL must be greater or equal than 3 * LeafCertTTL (>=${formatDuration(3 * leafTtlMs)}) and at most ${formatDuration(MAX_ROOT_TTL_MS)}`,
    );
}

const SECRETS = ["privatekey", "token"];

/** A configuration as it is kept and shown: without its private key, and without the token for Vault. */
export function withoutSecrets(given: ProviderConfig): ProviderConfig {
  return Object.fromEntries(
    Object.entries(given).filter(([key]) => !SECRETS.includes(key.replaceAll("_", "").toLowerCase())),
  );
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

// A number is nanoseconds, as everywhere in Consul's JSON.
function duration(key: string, value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value / 1e6;
  if (typeof value === "boolean") return Number(value) / 1e6;
  if (typeof value !== "string") throw unconvertible(key, "time.Duration", value);
  try {
    return parseDuration(value);
  } catch {
    throw new TypeError(`error decoding '${key}': time: invalid duration ${JSON.stringify(value.slice(0, 64))}`);
  }
}

// Consul's decoder is weak: text, numbers and booleans become one another where they can.
function float(key: string, value: unknown): number {
  if (typeof value === "boolean") return Number(value);
  const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof parsed === "number" && Number.isFinite(parsed)) return parsed;
  if (typeof value === "string") throw unreadable(key, "float", "ParseFloat", value);
  throw unconvertible(key, "float32", value);
}

function integer(key: string, value: unknown): number {
  if (typeof value === "boolean") return Number(value);
  const isWhole = typeof value === "string" && /^[+-]?(?:\d{1,15}|0x[0-9a-f]{1,13})$/i.test(value);
  if (isWhole) return Number(value);
  if (typeof value === "number" && Number.isSafeInteger(Math.trunc(value))) return Math.trunc(value);
  if (typeof value === "string") throw unreadable(key, "int", "ParseInt", value);
  throw unconvertible(key, "int", value);
}

function text(key: string, value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "1" : "0";
  if (typeof value === "number") return String(value);
  throw unconvertible(key, "string", value);
}

function flag(key: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value !== 0;
  if (typeof value !== "string") throw unconvertible(key, "bool", value);
  if (/^(?:1|t|true)$/i.test(value)) return true;
  if (value === "" || /^(?:0|f|false)$/i.test(value)) return false;
  throw unreadable(key, "bool", "ParseBool", value);
}

function unreadable(key: string, kind: string, parser: string, value: string): TypeError {
  const shown = JSON.stringify(value.slice(0, 64));
  return new TypeError(`cannot parse '${key}' as ${kind}: strconv.${parser}: parsing ${shown}: invalid syntax`);
}

function unconvertible(key: string, want: string, value: unknown): TypeError {
  const got = Array.isArray(value) ? "[]interface {}" : "map[string]interface {}";
  return new TypeError(`'${key}' expected type '${want}', got unconvertible type '${got}'`);
}

/** Consul's answer to a configuration that its provider does not take. */
export function refused(why: string, cause?: unknown): HeddleError {
  return new HeddleError("invalid_argument", `error configuring provider: ${why}`, { status: 500, cause });
}
