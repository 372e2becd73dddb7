/** Asking etcd until it answers, and what is said where it does not. */
import { describeError, HeddleError, type Logger, sleep, UnavailableError } from "@heddle/daemon";
import { GrpcError } from "@heddle/grpc";
import type { EtcdClient } from "./client.ts";

/** How long a command waits for etcd to have a leader; Consul's rpc_hold_timeout. */
export const HOLD_MS = 7_000;
const RETRY_MS = 25;
/** Once nobody waits for an answer: a start that goes on asking. */
const START_RETRY_MS = 250;
const TELL_EVERY_MS = 15_000;

/** Whether asking again may do better. */
export const isPassing = (error: unknown): boolean => error instanceof GrpcError && error.isPassing;

/** Calls until there is an answer, or `deadline` (of the monotonic clock, in milliseconds) has come. Throws what the last call threw. */
export async function untilAnswered<T>(call: () => Promise<T>, deadline: number, onRetry: () => void): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isPassing(error) || performance.now() >= deadline) throw error;
      onRetry();
      await sleep(RETRY_MS);
    }
  }
}

export interface StartOptions {
  client: EtcdClient;
  log: Logger;
  /** Where given, an etcd that is away is waited for until it aborts, which is said every 15 s; else for `HOLD_MS`. */
  waitUntil?: AbortSignal | undefined;
}

/** Calls until there is an answer: daemons may start in any order. Throws what etcd refuses, and the signal's reason. */
export async function atStart<T>(call: () => Promise<T>, { client, log, waitUntil }: StartOptions): Promise<T> {
  const deadline = performance.now() + HOLD_MS;
  let toldAt = Number.NEGATIVE_INFINITY;
  const tell = (error: string) => {
    log.warn("waiting for etcd", { endpoints: client.endpoints.join(","), error });
    toldAt = performance.now();
  };
  for (;;) {
    // A page of records may take long, and an etcd that hangs says nothing for as long.
    const hanging = waitUntil && setInterval(() => tell("no answer yet"), TELL_EVERY_MS);
    try {
      return await call();
    } catch (error) {
      const now = performance.now();
      const isPatient = isPassing(error) && (waitUntil || now < deadline);
      if (!isPatient) throw error instanceof HeddleError ? error : unreachable(client, error);
      if (waitUntil && now - toldAt >= TELL_EVERY_MS) tell(describeError(error));
      await sleep(now < deadline ? RETRY_MS : START_RETRY_MS, waitUntil);
    } finally {
      clearInterval(hanging);
    }
  }
}

/** Consul's words for a write without a quorum, and what is behind it. */
export function unreachable(client: EtcdClient, cause: unknown): UnavailableError {
  if (cause instanceof GrpcError && !cause.isPassing)
    return new UnavailableError(`etcd at ${client.endpoints.join(", ")} refuses`, { cause, status: 500 });
  return new UnavailableError(`No cluster leader: etcd at ${client.endpoints.join(", ")} does not answer`, {
    cause,
    status: 500,
  });
}
