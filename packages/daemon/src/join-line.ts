/**
 * The line by which a node joins: where a server's internal API is, the fingerprint of the root by which it is recognised before
 * anything is trusted, and the token. `heddle token join` prints it, `heddle agent -join` takes it.
 */
import { InvalidArgumentError } from "./errors.ts";

export interface JoinLine {
  /** host:port of a server's internal API. */
  address: string;
  /** SHA-256 of the root's certificate, as 64 hexadecimal digits. */
  fingerprint: string;
  /** Secret. */
  token: string;
}

const FORM = "ADDRESS:PORT/sha256:FINGERPRINT/TOKEN, a line of 'heddle token join'";

export const formatJoinLine = ({ address, fingerprint, token }: JoinLine): string =>
  `${address}/sha256:${fingerprint}/${token}`;

/** True for what is meant as a line, and not as a bare address of a server. */
export const isJoinLine = (text: string): boolean => text.includes("/sha256:");

/** Throws InvalidArgumentError, which never shows the token. */
export function parseJoinLine(text: string): JoinLine {
  const [address = "", fingerprint = "", token = "", ...more] = text.trim().split("/");
  const refuse = (why: string) => new InvalidArgumentError(`-join: ${why}: want ${FORM}`);
  if (more.length > 0) throw refuse("too many parts");
  if (!/^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/.test(address)) throw refuse(`no address in '${address}'`);
  if (!/^sha256:[0-9a-f]{64}$/.test(fingerprint)) throw refuse("no fingerprint of a root");
  if (!/^[A-Za-z0-9_.-]{16,128}$/.test(token)) throw refuse("no token");
  return { address, fingerprint: fingerprint.slice("sha256:".length), token };
}
