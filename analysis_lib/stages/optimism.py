"""How far one split of few patients can be trusted: the whole pipeline fitted again and again.

Scaling, AutoEncoder, networks and cut-off are learnt anew in every replicate, so that nothing of a tested
patient is in any of them. Three kinds:

- ``split``: another random split of the discovery set in the study's proportion, tested on the part left out;
- ``bootstrap``: fitted to a bootstrap sample of the study's training patients, and tested on that sample
  (``c_index_train``), on the patients it was drawn from (``c_index``) and on those it left out
  (``c_index_left_out``). The mean difference of the first two is the optimism of the training C-index (Harrell FE
  et al. Stat Med 1996;15:361, doi 10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4). It is too
  small for a model that learns patients by heart, since two thirds of the original ones are in the sample; the
  .632+ estimate mends that by the left-out ones (Efron B, Tibshirani R. JASA 1997;92:548, doi
  10.1080/01621459.1997.10474007);
- ``permuted``: a split with the outcomes dealt to other patients, the negative control.
"""

from __future__ import annotations
