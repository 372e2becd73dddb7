/** A decision as proxies report it to their agent, and as the agent tells whoever follows it. The keys are those of the API. */

/** "cut": a connection that was open, and that the rules no longer allow. */
export const DECISION_OUTCOMES = ["allowed", "cut", "refused"] as const;

export interface DecisionReport {
  /** RFC 3339. */
  Time: string;
  Outcome: (typeof DECISION_OUTCOMES)[number];
  Source: string;
  Destination: string;
  /** Identity of the caller as its certificate has it; empty where none was shown. */
  SourceURI: string;
  /** Address of the caller's proxy, where it is known. */
  Peer: string;
  Rule: string;
  Reason: string;
}
