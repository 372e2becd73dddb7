/** Why a connection may not be, in the words that both ends log. */
export interface Refusal {
  /** What kind of refusal, for metrics: one of a fixed few. */
  code: RefusalCode;
  source: string;
  destination: string;
  /** The rule that decided, where one did. */
  rule?: string | undefined;
  reason: string;
}

export const REFUSAL_CODES = [
  "intention",
  "identity",
  "handshake",
  "limit",
  "local_service",
  "no_endpoint",
  "unreachable",
  "closing",
  "protocol",
] as const;

export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** What an error says to people: the causes below it are OpenSSL's and the system's way of saying the same. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A refusal on its way through code that dials and checks. */
export class RefusedError extends Error {
  readonly code: RefusalCode;
  readonly refusal: Refusal | undefined;
  /** `refusal` is what the far proxy said, where it did. */
  constructor(code: RefusalCode, message: string, options: { cause?: unknown; refusal?: Refusal } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.refusal = options.refusal;
  }
}
