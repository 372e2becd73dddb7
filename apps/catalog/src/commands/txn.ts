/**
 * A transaction as one command: its operations run one after the other on a draft of the records, each sees those before it,
 * and either all that they wrote is committed in one step or nothing is.
 */
import { HeddleError } from "@heddle/daemon";
import { type Command, Draft, type StoredRecord, type View } from "@heddle/store";
import type { CheckRecord, KvRecord, NodeRecord, ServiceRecord } from "../records.ts";

export type TxnResult =
  | { kind: "Check"; record: StoredRecord<CheckRecord> }
  | { kind: "KV"; record: StoredRecord<KvRecord>; withValue: boolean }
  | { kind: "Node"; record: StoredRecord<NodeRecord> }
  | { kind: "Service"; record: StoredRecord<ServiceRecord>; tags: string[] | null };

export interface TxnError {
  OpIndex: number;
  What: string;
}

export type TxnOutcome = { errors: TxnError[] } | { results: TxnResult[] };

/** One operation: what it has to be before any runs, and what it does to the draft. Both throw a HeddleError to fail. */
export interface Operation {
  isWrite: boolean;
  refuse?: () => void;
  run: (draft: Draft) => TxnResult[];
}

/** Runs the operations in one step. Every failure is collected, and with one of them nothing is written. */
export function transact(operations: readonly Operation[]): Command<TxnOutcome> {
  return (view) => {
    const refused = collect(operations, (operation) => operation.refuse?.());
    if (refused.length > 0) return { writes: [], result: { errors: refused } };
    const draft = new Draft(view);
    const results: TxnResult[] = [];
    const errors = collect(operations, (operation) => results.push(...operation.run(draft)));
    if (errors.length > 0) return { writes: [], result: { errors } };
    return { writes: draft.writes(), result: { results } };
  };
}

/** Runs operations that only read. */
export function transactRead(operations: readonly Operation[], view: View): TxnOutcome {
  return transact(operations)(view).result;
}

function collect(operations: readonly Operation[], run: (operation: Operation) => unknown): TxnError[] {
  return operations.flatMap((operation, OpIndex) => {
    try {
      run(operation);
      return [];
    } catch (error) {
      if (!(error instanceof HeddleError)) throw error;
      return [{ OpIndex, What: error.message }];
    }
  });
}
