/** Which prepared query a name or an id means: by id, then by name, then the template with the longest prefix. */
import { describeError, type Logger, refusal } from "@heddle/daemon";
import { loadRegexps } from "@heddle/filter";
import type { Store, StoredRecord } from "@heddle/store";
import { QUERIES, type QueryRecord } from "../records.ts";
import { compileTemplate, isTemplate, type Render } from "./template.ts";

export const isUuid = (text: string): boolean =>
  /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i.test(text);

/** The query and, of a template, its definition filled in. */
export type Resolved = StoredRecord<QueryRecord>;

export class QueryIndex {
  readonly #store: Store;
  readonly #log: Logger;
  /** Ids by name in lower case. A template without a name catches all. */
  readonly #byName = new Map<string, string>();
  readonly #templates = new Map<string, string>();
  /** Lengths of templates' names, the longest first. */
  #lengths: number[] = [];
  /** Compiled when first asked for. */
  readonly #compiled = new WeakMap<QueryRecord, Render>();

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
    for (const { value } of store.list<QueryRecord>(QUERIES)) this.#add(value);
    this.#measure();
    store.subscribe(({ changes }) => {
      const ours = changes.filter((change) => change.table === QUERIES);
      if (ours.length === 0) return;
      for (const { before } of ours) if (before) this.#remove(before.value as QueryRecord);
      for (const { after } of ours) if (after) this.#add(after.value as QueryRecord);
      this.#measure();
      // A snapshot that is restored brings templates that nobody has compiled here.
      this.prepare().catch((error: unknown) => this.#log.error("cannot load RE2", { error: describeError(error) }));
    });
  }

  /** Loads what the templates need to be compiled. */
  async prepare(): Promise<void> {
    const records = [...this.#templates.values()].map((id) => this.#store.get<QueryRecord>(QUERIES, id));
    if (records.some((record) => record && record.value.Template.Regexp !== "")) await loadRegexps();
  }

  /** Undefined where no query has the name. Throws Consul's refusals for templates that are asked for by id or cannot be filled in. */
  resolve(idOrName: string): Resolved | undefined {
    if (idOrName === "") return undefined;
    if (isUuid(idOrName)) {
      const found = this.#store.get<QueryRecord>(QUERIES, idOrName.toLowerCase());
      if (found && isTemplate(found.value))
        throw refusal(500, "prepared query templates can only be resolved up by name, not by ID");
      if (found) return found;
    }
    const name = idOrName.toLowerCase();
    const id = this.#byName.get(name) ?? this.#longestTemplate(name);
    const found = id === undefined ? undefined : this.#store.get<QueryRecord>(QUERIES, id);
    if (!found || !isTemplate(found.value)) return found;
    return { ...found, value: this.#renderOf(found.value)(idOrName) };
  }

  #longestTemplate(name: string): string | undefined {
    for (const length of this.#lengths) {
      const id = length <= name.length ? this.#templates.get(name.slice(0, length)) : undefined;
      if (id !== undefined) return id;
    }
    return undefined;
  }

  #renderOf(record: QueryRecord): Render {
    let render = this.#compiled.get(record);
    if (!render) this.#compiled.set(record, (render = compileTemplate(record)));
    return render;
  }

  #add(record: QueryRecord): void {
    const name = record.Name.toLowerCase();
    if (name !== "") this.#byName.set(name, record.ID);
    if (isTemplate(record)) this.#templates.set(name, record.ID);
  }

  #remove(record: QueryRecord): void {
    const name = record.Name.toLowerCase();
    if (this.#byName.get(name) === record.ID) this.#byName.delete(name);
    if (this.#templates.get(name) === record.ID) this.#templates.delete(name);
  }

  #measure(): void {
    this.#lengths = [...new Set([...this.#templates.keys()].map((name) => name.length))].sort((a, b) => b - a);
  }
}
