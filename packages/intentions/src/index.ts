export { decide, REASON_ACLS_DISABLED, REASON_DEFAULT_POLICY } from "./decide.ts";
export { explain } from "./explain.ts";
export { DEFAULT_NAMESPACE, formatIntention, hasPermissions, matchOrder, precedence, WILDCARD } from "./intention.ts";
export type { DecideInput, DecidingRule, Decision, TraceStep } from "./decide.ts";
export { findIdleRules } from "./lint.ts";
export type { ExplainedRule, ExplainedStep, Explanation } from "./explain.ts";
export type { Intention, IntentionAction, IntentionNames } from "./intention.ts";
export type { IdleRule } from "./lint.ts";
