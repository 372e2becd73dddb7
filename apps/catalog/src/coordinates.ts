/**
 * Network coordinates (Vivaldi, as Serf computes them): how far nodes are from each other, for `near=`. Updates come often
 * and nobody waits for one, so they are written in batches.
 */
import { describeError, type Logger } from "@heddle/daemon";
import type { Store, StoredRecord, Write } from "@heddle/store";
import { COORDINATES, type CoordinateRecord, nodeKey, NODES } from "./records.ts";
import type { CatalogState } from "./state.ts";

const BATCH_MS = 2_000;
const MAX_BATCH = 1_280; // Consul's batches times their size: what comes beyond is dropped, the next update tells the same

export interface Coordinate {
  Vec: number[];
  Error: number;
  Adjustment: number;
  Height: number;
}

/** What a node has that has measured nothing yet. */
export const ORIGIN: Coordinate = { Vec: [0, 0, 0, 0, 0, 0, 0, 0], Error: 1.5, Adjustment: 0, Height: 1e-5 };

export const coordinateKey = (node: string, segment: string): string => `${nodeKey(node)}\0${segment}`;

/** The estimated round trip in seconds. */
export function distance(a: Coordinate, b: Coordinate): number {
  const squares = a.Vec.map((x, i) => (x - (b.Vec[i] ?? 0)) ** 2);
  const raw = Math.sqrt(squares.reduce((sum, s) => sum + s, 0)) + a.Height + b.Height;
  const adjusted = raw + a.Adjustment + b.Adjustment;
  return adjusted > 0 ? adjusted : raw;
}

/** Takes updates and writes them together. */
export class CoordinateBatch {
  readonly #pending = new Map<string, CoordinateRecord>();
  readonly #deps: { store: Store; log: Logger };
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: { store: Store; log: Logger }) {
    this.#deps = deps;
  }

  add(record: CoordinateRecord): void {
    const key = coordinateKey(record.Node, record.Segment);
    if (this.#pending.size >= MAX_BATCH && !this.#pending.has(key)) return;
    this.#pending.set(key, record);
    this.#timer ??= setTimeout(() => void this.#write(), BATCH_MS).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  async #write(): Promise<void> {
    this.#timer = undefined;
    const batch = [...this.#pending];
    this.#pending.clear();
    try {
      await this.#deps.store.run((view) => {
        // Nodes that are not registered have no place to be.
        const known = batch.filter(([, record]) => view.get(NODES, nodeKey(record.Node)));
        const writes: Write[] = known.map(([key, value]) => ({ table: COORDINATES, key, value }));
        return { writes, result: undefined };
      });
    } catch (error) {
      this.#deps.log.warn("cannot store coordinates, the next updates will tell them again", {
        error: describeError(error),
      });
    }
  }
}

/** The coordinates of a node, one a segment. An agent that has told none is at the origin. */
export function coordinatesOf(state: CatalogState, node: string): CoordinateRecord[] {
  const stored = state.store.list<CoordinateRecord>(COORDINATES, `${nodeKey(node)}\0`).map((r) => r.value);
  return stored.length > 0 ? stored : origin(state, node);
}

function origin(state: CatalogState, node: string): CoordinateRecord[] {
  const found = state.node(node);
  const isAgent = found && state.checksOf(node).some((c) => c.value.CheckID === "serfHealth");
  return found && isAgent ? [{ Node: found.value.Node, Segment: "", Coord: ORIGIN }] : [];
}

/** Sorts rows by how far their nodes are from `near`; those whose place is not known come last, in their order. */
export function nearest<T>(state: CatalogState, near: string, nodeOf: (row: T) => string): (rows: T[]) => T[] {
  if (near === "") return (rows) => rows;
  return (rows) => {
    const from = coordinatesOf(state, near);
    if (from.length === 0) return rows;
    const far = rows.map((row) => ({ row, seconds: shortest(from, coordinatesOf(state, nodeOf(row))) }));
    return far.sort((a, b) => (a.seconds === b.seconds ? 0 : a.seconds - b.seconds)).map(({ row }) => row);
  };
}

// Only coordinates of one segment can be compared.
function shortest(from: CoordinateRecord[], to: CoordinateRecord[]): number {
  const seconds = from.flatMap((a) => to.filter((b) => a.Segment === b.Segment).map((b) => distance(a.Coord, b.Coord)));
  return Math.min(Number.POSITIVE_INFINITY, ...seconds);
}

export const coordinateRows = (state: CatalogState): CoordinateRecord[] =>
  state.nodes().flatMap(({ value }: StoredRecord<{ Node: string }>) => coordinatesOf(state, value.Node));
