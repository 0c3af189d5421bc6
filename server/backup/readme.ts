/** The words that lie beside the bytes, for whoever finds them when there is no Berth any more. */
import { berthVersion } from '../version.ts'

export function readmeText(siteUrl: string): string {
  return `Backups of a Berth (a container library for Singularity and Apptainer), ${siteUrl}
Written by version ${berthVersion}. Everything here can be read with plain tools.

  backups/<time>/            one backup; <time> is UTC. It is whole when it has a file COMPLETE.
    backup.json              what it is: counts, the files with their SHA-256, and "damage": what the
                             store had lost already when the backup was made
    images.tsv               every image: reference, architecture, digest, bytes, owner, and its file
    blobs.tsv                every file below blobs/ that the backup needs
    database/                the rows, as text: tables/<name>.copy (tab-separated, \\N for null); the
                             columns are in dump.json
    builds/                  output of builds, and the files that were sent for them
    config/berth.toml        the configuration, without passwords in addresses
    secrets.tar.gpg          keys and passwords, encrypted (gpg --decrypt)
  blobs/sha256/<digest>      the bytes, named by their SHA-256, shared by all backups in here
  oci-layout, index.json     the newest backup as an OCI image layout over blobs/

An image by hand
  A SIF is one file. Its line in images.tsv says which:
    grep 'anna/tools/solver:v1' backups/<time>/images.tsv
    cp blobs/sha256/<digest> solver.sif && sha256sum solver.sif
  The sum is the digest. "singularity run solver.sif" works with it as it is.
  Any other image of the newest backup, by its reference:
    skopeo copy oci:.:anna/tools/web:v1 docker-archive:web.tar

All of it, with Berth
  An empty host with Berth installed, as the account that Berth runs under:
    berthctl restore DIRECTORY --yes --passphrase-file FILE

The database by hand, into an empty one of PostgreSQL 13 or newer with the extension pg_trgm:
    cd backups/<time>/database && psql -d DATABASE -f load.sql

The secrets by hand:
    gpg --decrypt backups/<time>/secrets.tar.gpg | tar -xv

Is it still whole?
    cd DIRECTORY/blobs/sha256 && for f in *; do echo "$f  $f"; done | sha256sum --check --quiet
  or: berthctl backup verify DIRECTORY
`
}
