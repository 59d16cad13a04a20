import { expect, test } from "bun:test";
import type { Socket } from "bun";
import { ManualClock, systemClock } from "../../../../../src/base/clock.ts";
import { defaultListenerLimits } from "../../../../../src/edge/listener/limits.ts";
import { AnswerWriter } from "../../../../../src/edge/listener/raw/answer-writer.ts";
import { BlobBytes } from "../../../../../src/edge/listener/raw/blob-bytes.ts";
import { Connection, type ConnectionContext } from "../../../../../src/edge/listener/raw/connection.ts";
import { DeadlineWheel } from "../../../../../src/edge/listener/raw/deadline-wheel.ts";
import { BLOB_EACH_BYTES_MAX, BLOBS_BYTES_MAX } from "../../../../../src/edge/listener/raw/limits.ts";
import { Outbox, Sender } from "../../../../../src/edge/listener/raw/sender.ts";
import type { ViewerResponse } from "../../../../../src/edge/message.ts";
import { text } from "../support.ts";

const DATE = { date: "Sat, 21 Nov 2026 10:00:00 GMT" };

/** A writer whose socket takes `room` bytes at a time; what it took, write by write. */
function writer(blobs: BlobBytes, room = Number.POSITIVE_INFINITY) {
  const taken: Buffer[] = [];
  const socket = {
    room,
    write(bytes: Uint8Array, offset = 0, length = bytes.byteLength - offset): number {
      const count = Math.min(length, this.room);
      this.room -= count;
      if (count > 0) taken.push(Buffer.from(bytes.subarray(offset, offset + count)));
      return count;
    },
  };
  const broken: unknown[] = [];
  const ended = Promise.withResolvers<void>();
  const sender = new Sender(socket, new Outbox(), {
    onProgress: () => {},
    onStreamed: () => ended.resolve(),
    onBroken: (error) => broken.push(error),
  });
  const answers = new AnswerWriter(sender, { blobs, clock: systemClock, onError: (e) => broken.push(e) });
  return {
    taken,
    socket,
    sender,
    answers,
    broken,
    ended: ended.promise,
    /** True when it was handed over whole. */
    send(response: ViewerResponse): boolean {
      const head = answers.headOf(response, false, true);
      if (head === null) throw new Error("no head");
      const whole = answers.send(head, response, false);
      sender.flush();
      return whole;
    },
    get all(): string {
      return Buffer.concat(taken).toString("latin1");
    },
  };
}

function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf("\r\n\r\n") + 4);
}

test("a head never leaves in a packet of its own when its body is there", () => {
  for (const size of [1_000, 100_000, 159_900, 170_000, 1_000_000]) {
    const body = Buffer.from(Uint8Array.from({ length: size }, (_, i) => 97 + (i % 26)));
    const one = writer(new BlobBytes());
    expect(one.send(text(body, DATE))).toBe(true);
    expect(one.taken[0]?.length).toBeGreaterThan(Math.min(size, 60_000));
    expect(one.taken.length).toBeLessThanOrEqual(2);
    expect(bodyOf(one.all) === body.toString("latin1")).toBe(true);
  }
});

test("the answer is right however little the socket takes at a time", () => {
  const body = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => 97 + (i % 26)));
  for (const room of [0, 1, 100, 65_600, 65_700, 299_000]) {
    const one = writer(new BlobBytes(), room);
    one.send(text(body, DATE));
    while (one.sender.blocked) {
      one.socket.room = 70_001;
      one.sender.onDrain();
    }
    expect(bodyOf(one.all) === body.toString("latin1")).toBe(true);
  }
});

test("bytes of a Blob are held until the socket has taken them, or the viewer has left", async () => {
  const blobs = new BlobBytes();
  const blob = new Blob([new Uint8Array(BLOB_EACH_BYTES_MAX).fill(97)]);
  // Nothing else finds room while both halves of the limit are held.
  const isFull = () => blobs.hold(new Blob([new Uint8Array(1_000)]), 1_000) === null;
  const first = writer(blobs);
  expect(first.send(text(blob, DATE))).toBe(false);
  await first.ended;
  const other = new Blob([new Uint8Array(BLOBS_BYTES_MAX - BLOB_EACH_BYTES_MAX)]);
  await blobs.hold(other, other.size);

  const slow = writer(blobs, 1_000);
  expect([slow.send(text(blob, DATE)), isFull()]).toEqual([true, true]);
  slow.socket.room = Number.POSITIVE_INFINITY;
  slow.sender.onDrain();
  slow.answers.release();
  expect(slow.all.length).toBeGreaterThan(BLOB_EACH_BYTES_MAX);
  expect(isFull()).toBe(false);
});

test("a viewer that leaves while a Blob is read for it, or is sent to it, holds nothing", async () => {
  const blobs = new BlobBytes();
  const whole = new Blob([new Uint8Array(BLOB_EACH_BYTES_MAX).fill(97)]);
  const early = writer(blobs, 1_000);
  early.send(text(whole, DATE));
  early.sender.stop();
  const stuck = writer(blobs, 1_000);
  stuck.send(text(whole, DATE));
  while (!stuck.sender.blocked) await Bun.sleep(0);
  stuck.sender.stop();
  await Bun.sleep(0);
  // Everything else fits: the one that was kept makes room.
  for (let i = 0; i < BLOBS_BYTES_MAX / BLOB_EACH_BYTES_MAX; i += 1) {
    const blob = new Blob([new Uint8Array(BLOB_EACH_BYTES_MAX)]);
    expect(await blobs.hold(blob, blob.size)).not.toBeNull();
  }
  expect(blobs.bytes).toBe(BLOBS_BYTES_MAX);
});

test("what can not be sent is told, and its body given up", () => {
  const one = writer(new BlobBytes());
  const bad = text("x", { "x-bad": "a\r\nset-cookie: b" });
  expect([one.answers.headOf(bad, false, true), one.taken.length]).toEqual([null, 0]);
  expect(String(one.broken[0])).toContain("x-bad");
});

test("a connection gives back what it held when its viewer has taken it, and when it has left", async () => {
  for (const leaves of [false, true]) {
    const blobs = new BlobBytes();
    const blob = new Blob([new Uint8Array(BLOB_EACH_BYTES_MAX).fill(97)]);
    const other = new Blob([new Uint8Array(BLOBS_BYTES_MAX - BLOB_EACH_BYTES_MAX)]);
    const kept = await blobs.hold(blob, blob.size);
    await blobs.hold(other, other.size);
    if (kept !== null) blobs.release(kept);
    let room = 1_000;
    const socket = {
      remoteAddress: "127.0.0.1",
      write(bytes: Uint8Array, offset = 0, length = bytes.byteLength - offset): number {
        const count = Math.min(length, room);
        room -= count;
        return count;
      },
      resume() {},
      pause() {},
    };
    const clock = new ManualClock();
    const context: ConnectionContext = {
      handler: () => text(blob, DATE),
      bodyContext: { requestBodyBytesMax: 0, limits: defaultListenerLimits, clock },
      requestHeaderBytesMax: 1_000,
      wheel: new DeadlineWheel(clock, 250),
      outbox: new Outbox(),
      writer: { blobs, clock, onError: () => {} },
      closing: false,
      requests: 0,
      relayed: null,
      onError: () => {},
      onRefused: () => {},
      pass: () => {
        throw new Error("nothing is passed on");
      },
      onClosed: () => {},
    };
    // A socket has much more; this is what a connection asks of it here.
    const connection = new Connection(socket as unknown as Socket<Connection>, context);
    connection.onData(Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "latin1"));
    const small = new Blob([new Uint8Array(1_000)]);
    expect(blobs.hold(small, small.size)).toBeNull();
    if (leaves) connection.onClose();
    else {
      room = Number.POSITIVE_INFINITY;
      connection.onDrain();
    }
    expect(blobs.hold(small, small.size)).not.toBeNull();
    connection.onClose();
  }
});
