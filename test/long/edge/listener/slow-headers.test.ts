/**
 * What bounds a viewer that sends its header section slowly over TLS is the runtime, not a line of ours,
 * and it takes real time to see. If a new runtime stops doing it, this is where it shows.
 */
import { afterEach, expect, test } from "bun:test";
import { cleanUp, loopback, start, text } from "../../../unit/edge/listener/support.ts";

afterEach(cleanUp);

/** Milliseconds until a connection that trickles one byte every half second after `first` is closed. */
async function trickle(port: number, first: string): Promise<number> {
  const closed = Promise.withResolvers<void>();
  const startMs = performance.now();
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    tls: { rejectUnauthorized: false },
    socket: { data() {}, close: () => closed.resolve(), error: () => closed.resolve() },
  });
  socket.write(first);
  const timer = setInterval(() => socket.write("a"), 500);
  await closed.promise;
  clearInterval(timer);
  return performance.now() - startMs;
}

test("a first header section is cut after about 12 seconds, whatever the idle limit", async () => {
  const reached: string[] = [];
  const edge = await start(
    (request) => {
      reached.push(request.url);
      return text("x");
    },
    { https: loopback },
  );
  expect(await trickle(edge.https, "GET / HTTP/1.1\r\nHost: site.test\r\nX-A: ")).toBeLessThan(20_000);
  expect(reached).toEqual([]);
}, 30_000);

test("a later header section on a kept connection is cut at the idle limit", async () => {
  const edge = await start(() => text("x"), { https: loopback, limits: { idleSeconds: 8 } });
  const whole = "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n";
  expect(await trickle(edge.https, `${whole}GET / HTTP/1.1\r\nX-A: `)).toBeLessThan(20_000);
}, 30_000);
