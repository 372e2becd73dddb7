import { expect, it } from "vitest";
import { createEventId, eventIndex } from "./event-id.ts";

it.each([1, 2, 255, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 47])(
  "an id is a UUID of version 4 and gives %d back",
  (index) => {
    for (let i = 0; i < 50; i++) {
      const id = createEventId(index);
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(eventIndex(id)).toBe(index);
    }
  },
);

it.each(["", "x", "00000000-0000-4000-8000-00000000000g", "11111111-2222-4333-8444-555555555555"])(
  "'%s' has none",
  (id) => expect(eventIndex(id)).toBeUndefined(),
);
