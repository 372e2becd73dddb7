/** What the CA has revoked, for a daemon elsewhere: its callers are refused by the CA's list, as the CA's own are. */
import type { RevokedCallers } from "@heddle/daemon";
import { createRevocationList, daemonRevocable, NO_REVOCATIONS, type RevocationsAnswer } from "@heddle/tls";
import type { ApiClient } from "./client.ts";
import { type FollowedRead, followRead, type FollowReadOptions } from "./followed-read.ts";

export const REVOCATIONS_PATH = "/v1/connect/ca/revocations";

export interface FollowedRevocations extends FollowedRead<RevocationsAnswer> {
  /** For `startInternalServer`. Until the CA has answered nobody is refused: without the CA, daemons would not find each other again. */
  callers: RevokedCallers;
}

/** Follows the CA's list until it is disposed of. */
export function followRevocations(ca: ApiClient, { log }: Pick<FollowReadOptions, "log">): FollowedRevocations {
  const read = followRead<RevocationsAnswer>(ca, REVOCATIONS_PATH, { what: "revocations", log });
  let list = createRevocationList(NO_REVOCATIONS);
  read.onChanged(() => {
    list = createRevocationList(read.body ?? NO_REVOCATIONS);
  });
  return Object.assign(read, {
    callers: {
      read: daemonRevocable,
      check: (facts) => list.check(facts),
      onChanged: read.onChanged,
    } satisfies RevokedCallers,
  });
}
