/**
 * Whether a history of concurrent operations could have happened one after the other, each between its call and its return.
 * The search is that of Wing and Gong with Lowe's memory of what was tried, as Porcupine does it
 * (github.com/anishathalye/porcupine): linearize what may come first, and take it back where that leads nowhere.
 */

export interface Operation<Input, Output> {
  input: Input;
  /** Undefined where there was no answer: it may have taken place at any time after its call, or never. */
  output: Output | undefined;
  call: number;
  /** Infinity where there was no answer. */
  return: number;
}

export interface Model<State, Input, Output> {
  initial: State;
  /** The state that an operation with this output leaves; undefined where it cannot have had this output. */
  step(state: State, input: Input, output: Output | undefined): State | undefined;
  /** Equal for equal states. */
  key(state: State): string;
}

interface Entry<I, O> {
  operation: Operation<I, O>;
  id: number;
  /** Of a call: its return. */
  match: Entry<I, O> | undefined;
  next: Entry<I, O> | undefined;
  previous: Entry<I, O> | undefined;
}

/** True where some order explains the history. Give it what can be looked at by itself: one key, one lock. */
export function isLinearizable<S, I, O>(model: Model<S, I, O>, history: readonly Operation<I, O>[]): boolean {
  const head = toList(history);
  const seen = new Set<string>();
  const done: { entry: Entry<I, O>; state: S }[] = [];
  const linearized = new Uint8Array(Math.ceil(history.length / 8));
  const flip = (id: number) => {
    const at = id >> 3;
    linearized[at] = (linearized[at] as number) ^ (1 << (id & 7));
  };
  let state = model.initial;
  let entry = head.next;
  while (head.next) {
    if (!entry) return false;
    if (entry.match) {
      const next = model.step(state, entry.operation.input, entry.operation.output);
      if (next !== undefined) {
        flip(entry.id);
        const tried = `${Buffer.from(linearized).toString("latin1")}|${model.key(next)}`;
        if (!seen.has(tried)) {
          seen.add(tried);
          done.push({ entry, state });
          state = next;
          lift(entry);
          entry = head.next;
          continue;
        }
        flip(entry.id);
      }
      entry = entry.next;
      continue;
    }
    // A return whose call has not been linearized: the last choice was wrong.
    const last = done.pop();
    if (!last) return false;
    state = last.state;
    flip(last.entry.id);
    unlift(last.entry);
    entry = last.entry.next;
  }
  return true;
}

/** Calls and returns in the order of their times, behind an entry that stands for the beginning. */
function toList<I, O>(history: readonly Operation<I, O>[]): Entry<I, O> {
  const points = history.flatMap((operation, id) => {
    const end: Entry<I, O> = { operation, id, match: undefined, next: undefined, previous: undefined };
    const start: Entry<I, O> = { operation, id, match: end, next: undefined, previous: undefined };
    return [
      { at: operation.call, entry: start, rank: 0 },
      { at: operation.return, entry: end, rank: 1 },
    ];
  });
  points.sort((a, b) => (a.at === b.at ? a.rank - b.rank : a.at - b.at));
  const head = { match: undefined, next: undefined, previous: undefined } as unknown as Entry<I, O>;
  let last = head;
  for (const { entry } of points) {
    last.next = entry;
    entry.previous = last;
    last = entry;
  }
  return head;
}

function lift<I, O>(entry: Entry<I, O>): void {
  for (const each of [entry, entry.match as Entry<I, O>]) {
    (each.previous as Entry<I, O>).next = each.next;
    if (each.next) each.next.previous = each.previous;
  }
}

function unlift<I, O>(entry: Entry<I, O>): void {
  for (const each of [entry.match as Entry<I, O>, entry]) {
    (each.previous as Entry<I, O>).next = each;
    if (each.next) each.next.previous = each;
  }
}
