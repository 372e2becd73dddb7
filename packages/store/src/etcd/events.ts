/** What a store on etcd counts: commands run again after somebody else's commit, everything read again, calls tried again. */
export type StoreEvent = "conflict" | "reload" | "retry";

export class StoreEvents extends Map<StoreEvent, number> {
  constructor() {
    super([
      ["conflict", 0],
      ["reload", 0],
      ["retry", 0],
    ]);
  }

  count(event: StoreEvent): void {
    this.set(event, (this.get(event) ?? 0) + 1);
  }
}
