/** Prepared queries as commands: defined, changed and deleted by id; no two have a name in common. */
import { randomUUID } from "node:crypto";
import { type Decoded, refusal } from "@heddle/daemon";
import type { Command, View, Write } from "@heddle/store";
import { toQuery } from "../queries/definition.ts";
import { compileTemplate, isTemplate } from "../queries/template.ts";
import { isUuid } from "../queries/index.ts";
import { QUERIES, type QueryRecord, SESSIONS } from "../records.ts";
import { normalizedUuid, uuidProblem } from "./uuid.ts";

/** Stores a new query and gives its id. A template with a Regexp needs the RE2 engine. */
export function createQuery(body: Decoded): Command<string> {
  if (typeof body["ID"] === "string" && body["ID"] !== "")
    throw refusal(500, "ID must be empty when creating a new prepared query");
  const record = toQuery(body, randomUUID());
  return (view) => {
    checkAgainst(view, record);
    return { writes: [{ table: QUERIES, key: record.ID, value: record }], result: record.ID };
  };
}

/** Replaces the query with this id, whatever id the body has. */
export function updateQuery(given: string, body: Decoded): Command<string> {
  const id = knownId(given);
  return (view) => {
    mustExist(view, id, given);
    const record = toQuery(body, id);
    checkAgainst(view, record);
    return { writes: [{ table: QUERIES, key: id, value: record }], result: id };
  };
}

export function deleteQuery(given: string): Command<string> {
  const id = knownId(given);
  return (view) => {
    mustExist(view, id, given);
    return { writes: [{ table: QUERIES, key: id }], result: id };
  };
}

/** The writes that delete the queries bound to a session. */
export function queryRemoval(view: View, session: string): Write[] {
  return view
    .list<QueryRecord>(QUERIES)
    .filter(({ value }) => value.Session.toLowerCase() === session)
    .map(({ key }) => ({ table: QUERIES, key }));
}

/** An id as it is stored. Throws Consul's refusal for what is no UUID. */
export function queryId(given: string): string {
  const problem = uuidProblem(given);
  if (problem) throw refusal(500, `failed prepared query lookup: ${problem}`);
  return normalizedUuid(given);
}

function knownId(given: string): string {
  const problem = uuidProblem(given);
  if (problem) throw refusal(500, `Prepared Query lookup failed: failed prepared query lookup: ${problem}`);
  return normalizedUuid(given);
}

function mustExist(view: View, id: string, given: string): void {
  if (!view.get(QUERIES, id)) throw refusal(500, `Cannot modify non-existent prepared query: '${given}'`);
}

function checkAgainst(view: View, record: QueryRecord): void {
  const name = record.Name.toLowerCase();
  const others = view.list<QueryRecord>(QUERIES).filter(({ key }) => key !== record.ID);
  if (name !== "") {
    if (others.some(({ value }) => value.Name.toLowerCase() === name))
      throw refusal(500, `name '${record.Name}' aliases an existing query name`);
  } else if (isTemplate(record) && others.some(({ value }) => value.Name === "" && isTemplate(value)))
    throw refusal(500, "a query template with an empty name already exists");
  if (isUuid(name) && view.get(QUERIES, name)) throw refusal(500, `name '${record.Name}' aliases an existing query ID`);
  checkSession(view, record.Session);
  if (isTemplate(record)) compileTemplate(record);
}

function checkSession(view: View, session: string): void {
  if (session === "") return;
  const problem = uuidProblem(session);
  if (problem) throw refusal(500, `invalid session: ${problem}`);
  if (!view.get(SESSIONS, normalizedUuid(session))) throw refusal(500, `invalid session ${JSON.stringify(session)}`);
}
