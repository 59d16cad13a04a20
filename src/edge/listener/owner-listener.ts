/** Where a worker answers the other workers of its node: a unix socket in a folder that only this user may enter. */
import { rmSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { bodyOf } from "../../http/body.ts";
import { encodeFrameHead, FRAME_HEAD_BYTES_MAX, readFrame } from "../../upstream/frame.ts";
import type { OwnerReply } from "../owner-answer.ts";
import type { TierQuestion } from "../tier.ts";
import { joined, streamOf } from "./body-stream.ts";

/** A piece that the asker does not take for so long, in milliseconds; its own viewers have shorter limits. */
const STALL_MS_MAX = 60 * 60 * 1000;

/** A listening socket. */
export interface OwnerListener {
  stop(): void;
}

/** Listens on `path`, in place of what a worker that was killed left there. Throws the system's error. */
export function startOwnerListener(options: {
  readonly path: string;
  readonly clock: Clock;
  readonly answer: (question: TierQuestion) => Promise<OwnerReply>;
  readonly onError: (error: unknown) => void;
}): OwnerListener {
  const { path, clock, answer, onError } = options;
  rmSync(path, { force: true });
  const server = Bun.serve({
    unix: path,
    development: false,
    maxRequestBodySize: FRAME_HEAD_BYTES_MAX,
    async fetch(request, server) {
      // An origin may take long; a worker that died closes its connections.
      server.timeout(request, 0);
      const { head } = await readFrame(bodyOf(await request.bytes()));
      // The other end is this very program, of this very version.
      return responseOf(await answer(head as TierQuestion));
    },
    error(error) {
      onError(error);
      return new Response(null, { status: 500 });
    },
  });

  function responseOf({ head, body }: OwnerReply): Response {
    const start = encodeFrameHead(head);
    const headers = { "content-type": "application/octet-stream" };
    if (body === null) return new Response(start, { headers });
    if (body instanceof Uint8Array) return new Response(Buffer.concat([start, body]), { headers });
    if (body instanceof Blob) return new Response(new Blob([start, body]), { headers });
    const stream = streamOf(joined([start], body), {
      clock,
      stallMs: STALL_MS_MAX,
      failure: "reset",
      onBroken: () => {},
      onEnd: () => {},
    });
    return new Response(stream, { headers });
  }

  return {
    stop() {
      void server.stop(true);
    },
  };
}
