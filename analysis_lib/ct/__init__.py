"""From CT and masks on disk to areas and mean HU; knows no study."""
