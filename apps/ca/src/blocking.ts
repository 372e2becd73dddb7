/** A read that waits for its answer to change (Consul's blocking queries). */
import { type ApiRequest, type Followable, readParams, reply, whenDraining } from "@heddle/daemon";

export interface Blocking extends Followable {
  /** Holds each caller while it waits, and so knows the answer as it is. */
  followers?: Set<() => void>;
}

/** Answers now, or when the index is past the caller's. */
export function answerBlocking(request: ApiRequest, { index, onChanged, answer, followers }: Blocking): void {
  const { res } = request;
  const { index: after, waitMs } = readParams(request.query);
  const send = () =>
    reply(request, answer(), {
      "X-Consul-Index": index(),
      "X-Consul-KnownLeader": "true",
      "X-Consul-LastContact": 0,
    });
  if (index() > after || after === 0) return send();
  const finish = () => {
    stop();
    send();
  };
  const off = onChanged(() => {
    if (index() > after) finish();
  });
  const timer = setTimeout(finish, waitMs + (Math.random() * waitMs) / 16);
  const stop = () => {
    clearTimeout(timer);
    off();
    followers?.delete(stop);
    res.off("close", stop);
  };
  followers?.add(stop);
  res.once("close", stop);
  whenDraining(res, finish);
}
