/**
 * A histogram whose series are looked up once and kept by who observes. prom-client's own finds its series by its labels at each value,
 * which costs a proxy more than the rest of a connection's metrics.
 */
import { Histogram, type Registry } from "prom-client";

export interface Series {
  observe(value: number): void;
}

export interface SeriesHistogramOptions {
  name: string;
  help: string;
  labelNames: readonly string[];
  /** Upper bounds, ascending. */
  buckets: readonly number[];
  registry: Registry;
}

type Labels = Readonly<Record<string, string>>;
type Told = Awaited<ReturnType<Histogram["get"]>>;

export class SeriesHistogram extends Histogram {
  readonly #name: string;
  readonly #buckets: readonly number[];
  readonly #series = new Set<OneSeries>();
  readonly #about: Omit<Told, "values">;

  constructor({ name, help, labelNames, buckets, registry }: SeriesHistogramOptions) {
    super({ name, help, labelNames: [...labelNames], buckets: [...buckets], registers: [registry] });
    this.#name = name;
    this.#buckets = buckets;
    // As prom-client's own answer, whose types have an enumeration instead of the word, and a function that no thread could pass on.
    this.#about = { name, help, type: "histogram", aggregator: "sum" } as unknown as Omit<Told, "values">;
  }

  /** To be kept: two series of the same labels would be told twice. */
  series(labels: Labels): Series {
    const series = new OneSeries(labels, this.#buckets);
    this.#series.add(series);
    return series;
  }

  override async get(): Promise<Told> {
    return { ...this.#about, values: [...this.#series].flatMap((series) => series.values(this.#name)) };
  }

  /** What the registry asks for where it is there. */
  async getForPromString(): Promise<Told> {
    return this.get();
  }
}

class OneSeries implements Series {
  readonly #labels: Labels;
  readonly #buckets: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(labels: Labels, buckets: readonly number[]) {
    this.#labels = labels;
    this.#buckets = buckets;
    this.#counts = Array.from({ length: buckets.length + 1 }, () => 0);
  }

  observe(value: number): void {
    this.#sum += value;
    let at = 0;
    while (at < this.#buckets.length && value > (this.#buckets[at] as number)) at++;
    (this.#counts[at] as number)++;
  }

  /** Nothing where nothing was observed. */
  values(name: string): Told["values"] {
    const labels = this.#labels;
    let count = 0;
    const buckets = this.#counts.map((own, i) => {
      count += own;
      return { labels: { le: this.#buckets[i] ?? "+Inf", ...labels }, value: count, metricName: `${name}_bucket` };
    });
    if (count === 0) return [];
    return [
      ...buckets,
      { labels, value: this.#sum, metricName: `${name}_sum` },
      { labels, value: count, metricName: `${name}_count` },
    ];
  }
}
