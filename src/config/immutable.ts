/** A parsed config is shared by everything that runs: nothing may change it. */

/** `T` with every property and list read-only, all the way down. */
export type Immutable<T> = T extends (infer Item)[]
  ? readonly Immutable<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Immutable<T[Key]> }
    : T;
