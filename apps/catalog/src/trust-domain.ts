/** The cluster's trust domain, which the CA chose: discovery chains name it in their targets. */
import type { ApiClient } from "@heddle/api-client";
import { describeError, type Logger } from "@heddle/daemon";

export interface TrustDomain {
  /** Undefined until the CA has answered for the first time. */
  current(): string | undefined;
  close(): void;
}

/** Asks the CA until it answers; a cluster keeps its trust domain for life. */
export function askTrustDomain({ ca, log }: { ca: ApiClient; log: Logger }): TrustDomain {
  const stop = new AbortController();
  let domain: string | undefined;
  const ask = async () => {
    const onError = ({ error, attempt }: { error: unknown; attempt: number }) => {
      if (attempt === 1)
        log.warn("cannot ask the CA for the trust domain, discovery chains wait for it", {
          ca: ca.address,
          error: describeError(error),
        });
    };
    for await (const { body } of ca.watch<{ TrustDomain?: string }>("/v1/connect/ca/roots", {
      signal: stop.signal,
      onError,
    })) {
      domain = body?.TrustDomain;
      if (domain) return;
    }
  };
  ask().catch((error: unknown) => {
    if (!stop.signal.aborted) log.error("asking the CA for the trust domain ended", { error: describeError(error) });
  });
  return { current: () => domain, close: () => stop.abort() };
}
