/** The filter-expression language of the API: `?filter=ServiceMeta.zone == a and "v2" in ServiceTags`. */
export { compileFilter, type Filter, MAX_EXPRESSION_BYTES } from "./compile.ts";
export { FilterError } from "./errors.ts";
export { type Field, type Fields, fields } from "./fields.ts";
export { parseFilter } from "./grammar.ts";
export { compileGroups, compilePattern, loadRegexps, needsRegexps } from "./regexps.ts";
export {
  catalogServiceFields,
  checkFields,
  instanceFields,
  intentionFields,
  nodeFields,
  nodeInfoFields,
  serviceFields,
} from "./tables.ts";
export type { Expression, Match, MatchOperator } from "./syntax.ts";
