/** Intentions for tests: the four names and the action, everything else filled in. */
import { type Intention, precedence } from "./intention.ts";

export function fakeIntention(fields: Partial<Intention> = {}): Intention {
  const intention: Intention = {
    ID: "11111111-2222-3333-4444-555555555555",
    Description: "",
    SourceNS: "default",
    SourceName: "web",
    DestinationNS: "default",
    DestinationName: "db",
    SourceType: "consul",
    Action: "allow",
    Meta: {},
    Precedence: 0,
    CreatedAt: "2026-01-01T00:00:00Z",
    UpdatedAt: "2026-01-01T00:00:00Z",
    CreateIndex: 1,
    ModifyIndex: 1,
    ...fields,
  };
  return { ...intention, Precedence: precedence(intention) };
}
