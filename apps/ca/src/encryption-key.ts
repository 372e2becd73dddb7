/** Where the key comes from that encrypts the roots' keys on disk: a file or a variable, never the command line. */
import { InvalidArgumentError } from "@heddle/daemon";

const KEY_BYTES = 32;
const MAX_KEYS = 8;
const WANT = "want 'file:PATH' or 'env:NAME', and older keys after commas";

export interface KeySources {
  env: Record<string, string | undefined>;
  readFile: (path: string) => string;
}

/** Reads the keys that a setting names, the newest first; none for an empty one. Throws InvalidArgumentError, which never shows a key. */
export function readEncryptionKeys(setting: string, sources: KeySources): Buffer[] {
  if (setting.trim() === "") return [];
  const places = setting.split(",").map((place) => place.trim());
  if (places.length > MAX_KEYS) throw new InvalidArgumentError(`encryption key: more than ${MAX_KEYS} keys`);
  return places.map((place, i) => readKey(place, i, sources));
}

function readKey(place: string, index: number, { env, readFile }: KeySources): Buffer {
  const [, kind, name = ""] = /^(file|env):(.+)$/.exec(place) ?? [];
  // What does not look like a place may be the key itself: it is not repeated.
  if (kind === undefined) throw new InvalidArgumentError(`encryption key: value ${index + 1} is no place: ${WANT}`);
  return decode(kind === "env" ? fromVariable(name, env) : fromFile(name, readFile), place);
}

function fromVariable(name: string, env: KeySources["env"]): string {
  const text = env[name];
  if (!text) throw new InvalidArgumentError(`encryption key: the variable ${name} is not set`);
  return text;
}

function fromFile(path: string, readFile: KeySources["readFile"]): string {
  try {
    return readFile(path);
  } catch (cause) {
    throw new InvalidArgumentError(`encryption key: cannot read ${path}`, { cause });
  }
}

function decode(text: string, place: string): Buffer {
  const trimmed = text.trim();
  const isHex = /^[0-9a-f]{64}$/i.test(trimmed);
  const key = Buffer.from(trimmed, isHex ? "hex" : "base64");
  const isBase64 = key.toString("base64").replace(/=+$/, "") === trimmed.replace(/=+$/, "");
  if (key.length !== KEY_BYTES || !(isHex || isBase64))
    throw new InvalidArgumentError(
      `encryption key: ${place} holds no key: want ${KEY_BYTES} bytes as 64 hexadecimal digits or base64 (openssl rand -base64 ${KEY_BYTES})`,
    );
  return key;
}
