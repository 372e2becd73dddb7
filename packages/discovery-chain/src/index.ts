export { compileChain } from "./compile.ts";
export { customizationHash } from "./customization.ts";
export type { ChainEntries, ChainEntryKind, ChainOverrides, ChainRequest, ChainResult } from "./request.ts";
export type {
  ChainFailover,
  ChainNode,
  ChainResolver,
  ChainRoute,
  ChainSplit,
  ChainTarget,
  CompiledChain,
  ResolverNode,
  RouterNode,
  SplitterNode,
} from "./chain.ts";
