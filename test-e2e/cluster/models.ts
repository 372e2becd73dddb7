/** What a group of keys and a lock must do, as models for the checker. */
import type { Model } from "./linearizability.ts";

/** The keys of a group with their values, which are all different; a key that is not there is absent. */
export type Keys = Readonly<Record<string, string>>;

/** All take place, or none. Values are told apart by what they are, so an index is written as the value that it was read with. */
export type KeyStep =
  | { type: "cas"; key: string; expected: string | undefined; value: string }
  | { type: "delete"; key: string }
  | { type: "get"; key: string }
  | { type: "put"; key: string; value: string };

export interface KeysOutput {
  isDone: boolean;
  /** What the gets have read. */
  read: Record<string, string | undefined>;
}

export const keysModel: Model<Keys, readonly KeyStep[], KeysOutput> = {
  initial: {},
  step(state, steps, output) {
    const next: Record<string, string> = { ...state };
    let isDone = true;
    for (const step of steps) {
      if (step.type === "get") {
        if (output && output.isDone && output.read[step.key] !== next[step.key]) return undefined;
      } else if (step.type === "delete") delete next[step.key];
      else if (step.type === "put") next[step.key] = step.value;
      else if (next[step.key] === step.expected) next[step.key] = step.value;
      else isDone = false;
    }
    if (output && output.isDone !== isDone) return undefined;
    return isDone ? next : state;
  },
  key: (state) => JSON.stringify(Object.entries(state).toSorted(([a], [b]) => (a < b ? -1 : 1))),
};

/** Who holds a lock: a session, or "" for nobody. */
export type LockStep = { type: "acquire" | "destroy" | "release"; session: string };

export const lockModel: Model<string, LockStep, boolean> = {
  initial: "",
  step(holder, { type, session }, output) {
    const isMet = type === "acquire" ? holder === "" || holder === session : type === "destroy" || holder === session;
    if (output !== undefined && output !== isMet) return undefined;
    if (!isMet) return holder;
    if (type === "acquire") return session;
    return holder === session ? "" : holder;
  },
  key: (holder) => holder,
};
