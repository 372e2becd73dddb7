/**
 * The `Config` of `/v1/connect/ca/configuration`: kept word for word as it was given, and read into settings by the rules
 * and with the messages of Consul's built-in provider.
 */
import { formatDuration, HeddleError, parseDuration } from "@heddle/daemon";

/** As the API shows it. */
export type ProviderConfig = Record<string, unknown>;

export interface CaSettings {
  leafTtlMs: number;
  /** 0 is no limit. */
  csrMaxPerSecond: number;
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
const DEFAULT_CSR_MAX_PER_SECOND = 50;

const KNOWN = [
  "CSRMaxConcurrent",
  "CSRMaxPerSecond",
  "IntermediateCertTTL",
  "LeafCertTTL",
  "PrivateKey",
  "PrivateKeyBits",
  "PrivateKeyType",
  "RootCert",
  "RootCertTTL",
  "RotationPeriod",
  "SkipValidate",
];
const NAMES = new Map(KNOWN.map((name) => [name.toLowerCase(), name]));

/** `leaf_cert_ttl`, as agents' files have it, and `leafCertTTL` both name LeafCertTTL; unknown keys stay as they are. */
export function canonicalKeys(given: ProviderConfig): ProviderConfig {
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => [NAMES.get(key.replaceAll("_", "").toLowerCase()) ?? key, value]),
  );
}

export function unknownKeys(given: ProviderConfig): string[] {
  return Object.keys(canonicalKeys(given)).filter((key) => !KNOWN.includes(key));
}

/** Checks a configuration and reads what counts. Throws Consul's 500s. */
export function readSettings(given: ProviderConfig): CaSettings {
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
  read("RotationPeriod", 0, duration);
  read("RootCertTTL", 0, duration);
  const csrMaxPerSecond = read("CSRMaxPerSecond", DEFAULT_CSR_MAX_PER_SECOND, number);
  read("CSRMaxConcurrent", 0, number); // accepted: signing is one at a time here
  const keyType = read("PrivateKeyType", "ec", text);
  const keyBits = read("PrivateKeyBits", 256, number);
  const privateKey = read("PrivateKey", "", text);
  const rootCert = read("RootCert", "", text);
  if (problems.length > 0)
    throw refused(
      `error decoding config: ${problems.length} error(s) decoding:\n\n${problems.map((p) => `* ${p}`).join("\n")}`,
    );
  if (rootCert !== "" && privateKey === "") throw refused("must provide a private key when providing a root cert");
  if (leafTtlMs < MIN_LEAF_TTL_MS)
    throw refused(`leaf cert TTL must be greater or equal than ${formatDuration(MIN_LEAF_TTL_MS)}`);
  if (leafTtlMs > MAX_LEAF_TTL_MS) throw refused(`leaf cert TTL must be less than ${formatDuration(MAX_LEAF_TTL_MS)}`);
  if (intermediateTtlMs < 3 * MIN_LEAF_TTL_MS) throw refused("Intermediate Cert TTL must be greater or equal than 3h");
  if (intermediateTtlMs < 3 * leafTtlMs)
    throw refused(
      `Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=${formatDuration(3 * leafTtlMs)}).`,
    );
  checkKeyType(keyType, keyBits);
  if (privateKey !== "") throw refused("this version cannot replace the root: leave PrivateKey and RootCert out");
  return { leafTtlMs, csrMaxPerSecond: Math.max(0, csrMaxPerSecond) };
}

function checkKeyType(type: string, bits: number): void {
  if (type !== "ec" && type !== "rsa") throw refused("private key type must be either 'ec' or 'rsa'");
  if (type === "ec" && ![224, 256, 384, 521].includes(bits))
    throw refused("EC key length must be one of (224, 256, 384, 521) bits");
  if (type === "rsa" && ![2048, 4096].includes(bits)) throw refused("RSA key length must be 2048 or 4096 bits");
  if (type !== "ec" || bits !== 256) throw refused("this version has roots of type ec with 256 bits only");
}

// A number is nanoseconds, as everywhere in Consul's JSON.
function duration(key: string, value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value / 1e6;
  if (typeof value !== "string") throw new TypeError(`'${key}' expected a duration such as "72h"`);
  try {
    return parseDuration(value);
  } catch {
    throw new TypeError(`error decoding '${key}': time: invalid duration ${JSON.stringify(value.slice(0, 64))}`);
  }
}

function number(key: string, value: unknown): number {
  const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof parsed === "number" && Number.isFinite(parsed)) return parsed;
  const shown = JSON.stringify(typeof value === "string" ? value.slice(0, 64) : value);
  throw new TypeError(`cannot parse '${key}' as float: strconv.ParseFloat: parsing ${shown}: invalid syntax`);
}

function text(key: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new TypeError(`'${key}' expected type 'string'`);
}

function refused(why: string): HeddleError {
  return new HeddleError("invalid_argument", `error configuring provider: ${why}`, { status: 500 });
}
