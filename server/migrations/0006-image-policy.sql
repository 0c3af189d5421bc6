-- Whether a space takes only images whose signatures hold; null: as the configuration says.

alter table entities add column require_verified boolean;
