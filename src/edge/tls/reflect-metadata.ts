/**
 * @peculiar/x509 stands on tsyringe, which refuses to load without the metadata functions of Reflect and
 * leaves it to the program to bring them. This is all that it uses: metadata kept per object and key,
 * looked up along the prototypes. To be imported before @peculiar/x509.
 */

type Key = string | symbol;

const kept = new WeakMap<object, Map<Key, unknown>>();

const functions = {
  defineMetadata(key: Key, value: unknown, target: object): void {
    const own = kept.get(target);
    if (own === undefined) kept.set(target, new Map([[key, value]]));
    else own.set(key, value);
  },
  getOwnMetadata: (key: Key, target: object): unknown => kept.get(target)?.get(key),
  getMetadata(key: Key, target: object): unknown {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      const own = kept.get(at);
      if (own?.has(key)) return own.get(key);
    }
    return undefined;
  },
};

// A program that has the whole polyfill keeps it.
if (!("getMetadata" in Reflect)) Object.assign(Reflect, functions);
