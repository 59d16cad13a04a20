/** Viewers who come at a steady rate, whatever became of those before them. */

/** One request that was not answered as it should be. */
export interface Loss {
  readonly path: string;
  readonly what: string;
}

/** Requests so far. */
export interface SteadyLoad {
  readonly losses: readonly Loss[];
  sent(): number;
  /** Who answered the newest answers, newest last. */
  recent(): readonly string[];
  /** Longest time to an answer so far, in milliseconds. */
  slowestMs(): number;
  /** Sends no more; resolves when every answer is there. */
  stop(): Promise<void>;
}

/** The newest answers that are remembered. */
const RECENT_MAX = 40;

/** Asks `base` for `path(n)`, `rate` times a second. Right is 200 with a body that ends with "GET" and the path. */
export function steadyLoad(
  base: string,
  rate: number,
  path: (n: number) => string,
  headers: Record<string, string> = {},
): SteadyLoad {
  const losses: Loss[] = [];
  const recent: string[] = [];
  const pending = new Set<Promise<void>>();
  let sent = 0;
  let slowestMs = 0;
  const one = async (target: string): Promise<void> => {
    const startMs = performance.now();
    try {
      const response = await fetch(base + target, {
        headers,
        keepalive: false,
        signal: AbortSignal.timeout(20_000),
      });
      const body = await response.text();
      if (response.status !== 200 || !body.endsWith(` GET ${target}`))
        losses.push({ path: target, what: `${response.status} ${body.slice(0, 200)}` });
      recent.push(body.split(" ")[0] ?? "");
      if (recent.length > RECENT_MAX) recent.shift();
    } catch (error) {
      losses.push({ path: target, what: String(error) });
    }
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
  };
  const startMs = performance.now();
  const timer = setInterval(() => {
    // Late timers are made up for: the rate holds on a busy machine.
    const due = Math.floor(((performance.now() - startMs) / 1000) * rate);
    while (sent < due) {
      const done: Promise<void> = one(path(sent++)).finally(() => pending.delete(done));
      pending.add(done);
    }
  }, 5);
  return {
    losses,
    sent: () => sent,
    recent: () => recent,
    slowestMs: () => Math.round(slowestMs),
    async stop() {
      clearInterval(timer);
      while (pending.size > 0) await Promise.all(pending);
    },
  };
}
