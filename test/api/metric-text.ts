/** The text format of Prometheus, as far as tests ask for figures in it. */

interface Line {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Undefined for what is no sample. */
export function read(line: string): Line | undefined {
  const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line)
  if (match === null) return undefined
  const [, name = '', labels = '', value = ''] = match
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
  return {
    name,
    labels: Object.fromEntries(pairs.map(([, label = '', text = '']) => [label, text])),
    value: Number(value),
  }
}

export function samplesOf(text: string): readonly Line[] {
  return text.split('\n').flatMap((line) => {
    const sample = line.startsWith('#') ? undefined : read(line)
    return sample === undefined ? [] : [sample]
  })
}

export function valueOf(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  return samplesOf(text).find(
    (sample) =>
      sample.name === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  )?.value
}

/** By label. */
export function labelValues(text: string): Map<string, Set<string>> {
  const all = new Map<string, Set<string>>()
  for (const { labels } of samplesOf(text)) {
    for (const [label, value] of Object.entries(labels)) {
      all.set(label, (all.get(label) ?? new Set()).add(value))
    }
  }
  return all
}
