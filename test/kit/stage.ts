/** What a test starts and nobody has to stop: the stage is cleared after each test, the newest first. */
import { afterEach } from "bun:test";
import { type OriginHandler, startOrigin, type TestOrigin } from "./origin.ts";
import { Programs } from "./program.ts";

/** A test file's stage. */
export interface Stage {
  /** Called after the test, in reverse order. */
  readonly stops: (() => unknown)[];
  /** An origin that is an application. */
  app(handler: OriginHandler): TestOrigin;
  /** A folder to run the program in. */
  programs(): Programs;
}

/** Sets the stage for the tests of the calling file. */
export function stage(): Stage {
  const stops: (() => unknown)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  });
  return {
    stops,
    app(handler) {
      const origin = startOrigin(handler);
      stops.push(() => origin.stop());
      return origin;
    },
    programs() {
      const made = new Programs();
      stops.push(() => made.stop());
      return made;
    },
  };
}
