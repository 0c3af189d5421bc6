/** Figures of the host: the disk of the images, certificates. */
import { X509Certificate } from 'node:crypto'
import { statfs } from 'node:fs/promises'

import type { MetricSource } from './source.ts'

/** `keepFreeBytes`: below it uploads are refused. */
export function diskSource(directory: string, keepFreeBytes: number): MetricSource {
  return {
    name: 'disk',
    metrics: [
      { name: 'berth_disk_free_bytes', help: 'Free on the disk of the images.' },
      { name: 'berth_disk_size_bytes', help: 'Size of that disk.' },
      { name: 'berth_disk_free_ratio', help: 'Free part of it, from 0 to 1.' },
      { name: 'berth_disk_reserve_bytes', help: 'With less than this, uploads are refused.' },
      { name: 'berth_disk_free_inodes_ratio', help: 'Free part of its inodes, from 0 to 1.' },
    ],
    read: async () => {
      const { bavail, bsize, blocks, bfree, files, ffree } = await statfs(directory)
      // What only root may use is not there for Berth.
      const usable = blocks - bfree + bavail
      return [
        { metric: 'berth_disk_free_bytes', value: bavail * bsize },
        { metric: 'berth_disk_size_bytes', value: blocks * bsize },
        { metric: 'berth_disk_free_ratio', value: usable === 0 ? 0 : bavail / usable },
        { metric: 'berth_disk_reserve_bytes', value: keepFreeBytes },
        // Some file systems have no fixed number of them and say 0.
        { metric: 'berth_disk_free_inodes_ratio', value: files === 0 ? 1 : ffree / files },
      ]
    },
  }
}

/**
 * When a certificate of Berth's own ends. `pem` gives what is in use; call once for each:
 * `meters.add(certificateSource(() => tls.identity.cert))`.
 */
export function certificateSource(pem: () => string | Buffer): MetricSource {
  const metric = 'berth_certificate_expires_timestamp_seconds'
  return {
    name: 'certificate',
    metrics: [{ name: metric, help: 'When the certificate that Berth serves with ends.' }],
    read: async () => {
      const until = new Date(new X509Certificate(pem()).validTo)
      return [{ metric, value: until.getTime() / 1000 }]
    },
  }
}
