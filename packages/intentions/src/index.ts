export { decide, REASON_ACLS_DISABLED, REASON_DEFAULT_POLICY } from "./decide.ts";
export { DEFAULT_NAMESPACE, formatIntention, hasPermissions, matchOrder, precedence, WILDCARD } from "./intention.ts";
export type { DecideInput, DecidingRule, Decision, TraceStep } from "./decide.ts";
export type { Intention, IntentionAction, IntentionNames } from "./intention.ts";
