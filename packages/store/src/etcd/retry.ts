/** Asking etcd until it answers, and what is said where it does not. */
import { sleep, UnavailableError } from "@heddle/daemon";
import { GrpcError } from "@heddle/grpc";
import type { EtcdClient } from "./client.ts";

/** How long a command waits for etcd to have a leader; Consul's rpc_hold_timeout. */
export const HOLD_MS = 7_000;
const RETRY_MS = 25;

/** Whether asking again may do better. */
export const isPassing = (error: unknown): boolean => error instanceof GrpcError && error.isPassing;

/** A pause before the next try. */
export const pause = (): Promise<void> => sleep(RETRY_MS);

/** Calls until there is an answer, or `deadline` (of the monotonic clock, in milliseconds) has come. Throws what the last call threw. */
export async function untilAnswered<T>(call: () => Promise<T>, deadline: number, onRetry: () => void): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isPassing(error) || performance.now() >= deadline) throw error;
      onRetry();
      await pause();
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
