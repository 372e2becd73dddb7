/** Everything that settings decide, made anew as a whole when they change: zone, resolver, recursor, limits. */
import type { Clock, Logger } from "@heddle/daemon";
import { isReverse } from "./answers/reverse.ts";
import { createZone, failure } from "./answers/zone.ts";
import type { Directory } from "./catalog/directory.ts";
import { RCODE } from "./codec/constants.ts";
import type { Question } from "./codec/query.ts";
import type { Answer, ReplyOptions } from "./codec/reply.ts";
import type { DnsConfig } from "./config.ts";
import { createExplainer, type Explain } from "./explain.ts";
import { createRecursor, type Recursor } from "./net/recursor.ts";
import { createResolver, type Resolve } from "./resolver.ts";

export interface Views {
  resolve: Resolve;
  explain: Explain;
  recursor: Recursor;
  udpAnswerLimit: number;
  replies: Pick<ReplyOptions, "announcesTruncation" | "hasRecursion" | "isCompressed">;
  /** The answer to a name that is not ours while there is no recursor. */
  refusal(question: Question): Answer;
}

export interface ViewsDeps {
  config: DnsConfig;
  directory: Directory;
  clock: Clock;
  random: () => number;
  log: Logger;
  onRecursion: (outcome: "answered" | "failed") => void;
}

export function createViews({ config, directory, clock, random, log, onRecursion }: ViewsDeps): Views {
  const zone = createZone({
    domain: config.domain,
    altDomain: config.altDomain,
    datacenter: config.datacenter,
    nodeTtlMs: config.nodeTtl,
    serviceTtlMs: config.serviceTtl,
    nodeMetaTxt: config.nodeMetaTxt,
    soa: {
      refreshMs: config.soaRefresh,
      retryMs: config.soaRetry,
      expireMs: config.soaExpire,
      minTtlMs: config.soaMinTtl,
    },
  });
  const recursor = createRecursor(
    {
      recursors: config.recursors,
      recursorTimeoutMs: config.recursorTimeout,
      isRandom: config.recursorStrategy === "random",
    },
    { log, random, onOutcome: onRecursion },
  );
  const settings = { onlyPassing: config.onlyPassing, aRecordLimit: config.aRecordLimit };
  const resolve = createResolver({ zone, settings, directory, hosts: recursor, clock });
  const { udpAnswerLimit } = config;
  return {
    resolve,
    explain: createExplainer({ zone, settings: { ...settings, udpAnswerLimit }, directory, resolve }),
    recursor,
    udpAnswerLimit: config.udpAnswerLimit,
    replies: {
      announcesTruncation: config.enableTruncate,
      hasRecursion: recursor.isEnabled,
      isCompressed: !config.disableCompression,
    },
    // Consul serves the reverse zones and fails for what it does not find there; other zones it refuses.
    refusal: ({ name }) => (isReverse(name) ? failure(RCODE.SERVFAIL, { isRecursive: true }) : failure(RCODE.REFUSED)),
  };
}
