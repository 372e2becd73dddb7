export { decode, describeProblem, fields, formatPath, knownKeys, members, toSnake } from "./decode.ts";
export { MAX_DEPTH, MAX_TEXT_LENGTH } from "./document.ts";
export { HclSyntaxError, UnexpectedEndError } from "./errors.ts";
export { parseHcl } from "./hcl.ts";
export { parseJson } from "./json.ts";
export { nearest } from "./nearest.ts";
export type { AnyField, DecodeOptions, Field, Problem, Value } from "./decode.ts";
export type { ParsedDocument, Path } from "./document.ts";
export type { Position } from "./errors.ts";
