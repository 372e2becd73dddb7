/** What one reader of a discovery chain wants to be otherwise than the entries say: the body of its request. */
import { InvalidArgumentError } from "@heddle/daemon";
import { readEntry } from "./read.ts";
import { always } from "./shape.ts";

export interface ChainOverrideBody {
  OverrideMeshGateway: { Mode?: string };
  OverrideProtocol?: string;
  /** Go's text. */
  OverrideConnectTimeout?: string;
}

const SHAPE = always({
  OverrideMeshGateway: always({ Mode: "text" }),
  OverrideProtocol: "text",
  OverrideConnectTimeout: "duration",
});

/** Reads the overrides as leniently as an entry; unknown keys mean nothing. Throws InvalidArgumentError. */
export function decodeChainOverrides(input: unknown): ChainOverrideBody {
  if (input !== null && (typeof input !== "object" || Array.isArray(input))) {
    const kind = Array.isArray(input) ? "array" : typeof input === "boolean" ? "bool" : typeof input;
    throw new InvalidArgumentError(`json: cannot unmarshal ${kind} into Go value of type map[string]interface {}`);
  }
  return readEntry(input ?? {}, SHAPE, { ignoresUnknown: true }) as unknown as ChainOverrideBody;
}
