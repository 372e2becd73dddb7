/** The token that Vault knows us by, kept alive: renewed at two thirds of its life while Vault allows it. */
import { type Clock, describeError, type Logger, type Timer } from "@heddle/daemon";
import type { VaultClient } from "./client.ts";

const RENEW_AT = 2 / 3;
const RETRY_MS = 30_000;

/** Renews until the function that it returns is called. */
export function keepToken({ client, clock, log }: { client: VaultClient; clock: Clock; log: Logger }): () => void {
  let timer: Timer | undefined;
  let isClosed = false;
  const again = (ms: number, work: () => Promise<void>) => {
    if (!isClosed) timer = clock.after(ms, () => void attempt(work));
  };
  const attempt = (work: () => Promise<void>): Promise<void> =>
    work().catch((error: unknown) => {
      log.warn("cannot renew the token for Vault, trying again", { error: describeError(error) });
      again(RETRY_MS, work);
    });
  const look = async () => {
    const { data } = await client.read("auth/token/lookup-self");
    const ttlMs = Number(data["ttl"] ?? 0) * 1_000;
    if (ttlMs === 0) return; // it does not end
    if (data["renewable"] === true) return again(ttlMs * RENEW_AT, renew);
    log.warn("the token for Vault cannot be renewed: give another before it ends", { seconds_left: ttlMs / 1_000 });
    again(ttlMs * RENEW_AT, look);
  };
  const renew = async () => {
    const { auth } = await client.write("auth/token/renew-self", {});
    log.info("renewed the token for Vault", { seconds: auth["lease_duration"] });
    await look();
  };
  void attempt(look);
  return () => {
    isClosed = true;
    timer?.cancel();
  };
}
