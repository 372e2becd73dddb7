/** What each watch with a cursor has told last, in the agent's store: a restart tells what changed meanwhile, and nothing twice. */
import type { WatchCursor, WatchPosition } from "@heddle/api-client";
import type { Store } from "@heddle/store";

const CURSORS = "watch-cursors";

/** The cursor of a name. */
export function watchCursor(store: Store, name: string): WatchCursor {
  return {
    load: () => store.get<WatchPosition>(CURSORS, name)?.value,
    async save(position) {
      await store.run(() => ({ writes: [{ table: CURSORS, key: name, value: position }], result: undefined }));
    },
  };
}

/** Forgets those that no watch names any more. */
export async function dropCursors(store: Store, isNamed: (name: string) => boolean): Promise<void> {
  const gone = store.list(CURSORS).filter(({ key }) => !isNamed(key));
  if (gone.length === 0) return;
  await store.run(() => ({ writes: gone.map(({ key }) => ({ table: CURSORS, key })), result: undefined }));
}
